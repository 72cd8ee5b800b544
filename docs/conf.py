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
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
html_theme = "pydata_sphinx_theme"
html_title = "skxmc"
exclude_patterns = ["_build"]

autosummary_generate = True
# Members that come from scikit-learn's own classes are documented there.
autodoc_default_options = {
    "members": True,
    "inherited-members": "ClassifierMixin,ClusterMixin,BaseEstimator",
    "exclude-members": "get_metadata_routing, set_score_request",
}
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "show_memory": False,
}
