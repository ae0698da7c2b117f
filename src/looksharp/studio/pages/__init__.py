"""The pages of the studio, a file each."""
