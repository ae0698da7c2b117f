"""Say what is understood of a network, and check its maps against plain autograd."""

from looksharp.diagnosis.diagnose import Diagnosis, diagnose
from looksharp.diagnosis.settings import DoctorSettings

__all__ = ["Diagnosis", "DoctorSettings", "diagnose"]
