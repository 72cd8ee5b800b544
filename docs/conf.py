import os

import skxmc

os.environ.setdefault("HF_HUB_OFFLINE", "1")

project = "skxmc"
author = "the skxmc developers"
version = release = skxmc.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",  # formulas without a network
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
html_theme = "pydata_sphinx_theme"
html_theme_options = {"header_links_before_dropdown": 6, "show_prev_next": False}
html_title = "skxmc"
html_domain_indices = False  # docs/api.rst is the index of modules
html_static_path = ["_static"]
html_css_files = ["narrow.css"]
exclude_patterns = ["_build"]
# `GRankClassifier` between single backticks is code, and a link where it is ours.
default_role = "py:obj"
rst_prolog = ".. py:currentmodule:: skxmc\n"

# Values such as default="auto" keep the quotes that Python takes.
smartquotes = False

templates_path = ["_templates"]
autosummary_generate = True
# Methods that a class has for other parts of the package or of scikit-learn.
hidden_methods = ["expected_state", "get_metadata_routing"]
hidden_methods += ["set_fit_request", "set_partial_fit_request", "set_score_request"]
autosummary_context = {"hidden_methods": ["__init__", *hidden_methods]}
# Members that come from scikit-learn's own classes are documented there.
autodoc_default_options = {
    "members": True,
    "inherited-members": "ClassifierMixin,ClusterMixin,BaseEstimator,_SetOutputMixin",
    "exclude-members": ", ".join(hidden_methods),
}
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "show_memory": False,
}
