"""How Sphinx builds these pages: ``make docs``."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # the extensions: mathml, run_code, generate

project = "attn_ref"
html_title = "attn_ref"
extensions = ["myst_parser", "sphinx_design", "mathml", "run_code", "generate"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_math_renderer = "mathml"  # the browser's own: nothing is fetched
html_static_path = ["_static"]
html_css_files = ["attn_ref.css"]
html_show_sourcelink = False
html_copy_source = False
highlight_language = "none"  # of blocks that do not say
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
smartquotes = False
pygments_style = "friendly"
pygments_dark_style = "monokai"
