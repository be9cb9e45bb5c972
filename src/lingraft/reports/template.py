"""The frame and the looks of a report page."""

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --quiet: #58606c; --paper: #fff; --line: #d9dde3;
  --raised: #f4f6f8; --link: #0059a8; --warn: #8a4b00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --quiet: #a3abb8; --paper: #16191e;
  --line: #353b45; --raised: #1f242b; --link: #7db8f0; --warn: #f0b35a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 2rem 1.2rem 4rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.55 system-ui, sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.3rem; margin: 2.4rem 0 .6rem; padding-top: .6rem; border-top: 1px solid var(--line); }
p { margin: .7rem 0; max-width: 46rem; }
.summary { font-size: 1.15rem; }
.warning { border-left: 4px solid var(--warn); background: var(--raised); padding: .6rem .9rem; }
nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; }
a { color: var(--link); }
pre { background: var(--raised); border: 1px solid var(--line); border-radius: 6px; padding: .8rem 1rem;
  overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: 1.1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--quiet); padding-bottom: .4rem; }
th, td { text-align: left; padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
thead th { border-bottom: 2px solid var(--line); }
tbody th { font-weight: 500; }
.number { text-align: right; }
.number .interval { white-space: nowrap; display: inline-block; }
thead th { vertical-align: bottom; min-width: 4.2rem; }
figure { margin: 1.2rem 0; }
img { max-width: 100%; height: auto; }
img.paper { background: #fff; border-radius: 6px; padding: .5rem; }
figcaption { color: var(--quiet); margin-top: .3rem; max-width: 46rem; }
@media print { body { max-width: none; } .scroll { overflow: visible; } }
"""

# The policy makes the promise of the first line binding: a browser will load nothing for this page.
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'{policy}">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""
