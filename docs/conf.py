"""Configuration of Sphinx."""

import skvgg

project = "skvgg"
author = "the skvgg developers"
copyright = "2026, the skvgg developers"
version = release = skvgg.__version__

extensions = [
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]

sphinx_gallery_conf = {
    "examples_dirs": "../examples/gallery",
    "gallery_dirs": "gallery",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "doc_module": ("skvgg",),
    "backreferences_dir": "gallery/backreferences",
    "download_all_examples": False,
    "show_signature": False,
    "show_memory": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "skvgg"
html_theme_options = {"show_toc_level": 2, "navigation_with_keys": False}
html_static_path = ["_static"]

autosummary_generate = True
# The docstrings say what a parameter is, in more detail than its annotation.
autodoc_typehints = "none"
# The template lists the methods; what is inherited stands in scikit-learn's reference.
templates_path = ["_templates"]
numpydoc_show_class_members = False
numpydoc_validation_checks = {"GL03", "GL05", "PR01", "PR02", "PR03", "RT03", "SS03"}
