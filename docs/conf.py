"""Settings of the documentation site, built by `make docs`."""

import os
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "looksharp"
author = "looksharp contributors"
copyright = "looksharp contributors, Apache-2.0"
version = release = installed_version("looksharp")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "sphinxarg.ext",
    "links",
    "reference",
]
exclude_patterns = ["_build", "gallery", "gallery_built/*.ipynb"]  # the gallery has run already

html_theme = "furo"
html_title = f"looksharp {release}"
html_theme_options = {"navigation_with_keys": True}

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 80
smartquotes = False  # they would turn --flag into a dash
autodoc_member_order = "bysource"

myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 4
suppress_warnings = [
    "misc.highlighting_failure",  # IPython's lexer knows no command of the shell over two lines, `! ... \\`
    "myst.domains",  # sphinx-argparse's domain resolves no general references
]

# Of the kernels: how threads wait, and how "!" runs a command.
os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "IPYTHONDIR": str(Path(__file__).parent / "ipython")}
# Tutorials run whenever the site is built, each in a folder of its own.
nb_execution_mode = "cache"
nb_execution_in_temp = True
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "gallery_built",
    "filename_pattern": "/plot_",
    "abort_on_example_error": True,
    "min_reported_time": 1,
    "show_memory": False,
    "download_all_examples": False,
}
