"""The commands, one file each; a file registers its command when it is imported, which must load no torch."""
