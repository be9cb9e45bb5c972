"""The frame and the looks of a report page."""

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --quiet: #58606c; --paper: #fff; --line: #d9dde3;
  --raised: #f4f6f8; --link: #0059a8; --warn: #8a4b00; --mix: 55%;
  --kind0: #a34a00; --kind1: #00755a; --kind2: #9c4674; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --quiet: #a3abb8; --paper: #16191e;
  --line: #353b45; --raised: #1f242b; --link: #7db8f0; --warn: #f0b35a; --mix: 44%;
  --kind0: #ff8c42; --kind1: #2fc79a; --kind2: #e39cc4; } }
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1rem/1.55 system-ui, sans-serif; }
.page { margin: 0 auto; max-width: 62rem; padding: 2rem 1.2rem 4rem; }
h1, h2, h3, p, figcaption, summary { overflow-wrap: anywhere; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.35rem; margin: 2.6rem 0 .6rem; padding-top: .6rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.08rem; margin: 1.8rem 0 .4rem; }
p { margin: .7rem 0; max-width: 46rem; }
.summary { font-size: 1.15rem; }
.warning { border-left: 4px solid var(--warn); background: var(--raised); padding: .6rem .9rem; }
nav ul { list-style: none; padding: 0; margin: 1rem 0; display: flex; flex-wrap: wrap; gap: 0 1.2rem; }
nav li ul { display: none; }
nav a { display: inline-block; padding: .3rem 0; }
a { color: var(--link); }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; border-radius: 2px; }
main:focus { outline: none; }
.skip { position: absolute; left: 1rem; top: -4rem; background: var(--paper); padding: .5rem .8rem; z-index: 9;
  border: 1px solid var(--link); border-radius: 5px; }
.skip:focus { top: .5rem; }
.spoken { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
pre { background: var(--raised); border: 1px solid var(--line); border-radius: 6px; padding: .8rem 1rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
summary { cursor: pointer; }
.source { display: block; color: var(--quiet); font-size: .8rem; line-height: 1.35; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: 1.1rem 0; }
.scroll + .source { margin: -.8rem 0 1.1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--quiet); padding-bottom: .4rem; }
caption span { position: sticky; left: 0; display: inline-block; max-width: min(46rem, 100vw - 2.6rem); }
th, td { text-align: left; padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th[dir], td[dir] { text-align: start; }
thead th { border-bottom: 2px solid var(--line); }
tbody th { font-weight: 500; min-width: 8.5rem; }
.long-word { overflow-wrap: anywhere; min-width: 13rem; white-space: pre-wrap; }
.prose { min-width: 10rem; white-space: pre-wrap; }
.number { text-align: right; }
.number .interval { white-space: nowrap; display: inline-block; }
thead th { vertical-align: bottom; min-width: 4.2rem; }
figure { margin: 1.2rem 0; }
img { max-width: 100%; max-height: 42rem; width: auto; height: auto; }
img.paper { background: #fff; border-radius: 6px; padding: .5rem; }
figcaption { color: var(--quiet); margin-top: .3rem; max-width: 46rem; }
@media screen and (max-width: 40rem) {
  tbody th { min-width: 7.5rem; }
  .long-word { min-width: 10rem; }
  .prose { min-width: 15rem; }
  /* Pictures keep letters of a readable size, and scroll by themselves. */
  .picture { overflow-x: auto; }
  .picture img { max-width: none; max-height: none; width: 34rem; }
}
@media screen and (min-width: 72rem) {
  .long .page { max-width: 82rem; padding: 2rem 2rem 4rem; display: grid; column-gap: 2.6rem;
    grid-template-columns: 14.5rem minmax(0, 1fr); grid-template-rows: auto 1fr; }
  .long .page > * { grid-column: 2; }
  .long .page > nav { grid-column: 1; grid-row: 1 / span 2; align-self: start; position: sticky; top: 0;
    max-height: 100vh; overflow-y: auto; padding: 1rem .6rem 1rem .3rem; margin-top: -1rem; font-size: .92rem;
    line-height: 1.35; border-right: 1px solid var(--line); }
  .long nav ul { display: block; margin: 0; }
  .long nav li ul { padding-left: .9rem; margin-bottom: .3rem; font-size: .95em; }
  .long nav a { text-decoration: none; padding: .22rem 0; overflow-wrap: anywhere; }
  .long nav a:hover { text-decoration: underline; }
  .long main > section:first-child > h2 { margin-top: 1.2rem; }
}
@media print { .page { max-width: none; padding: 0; } nav, .skip { display: none; }
  .scroll { overflow: visible; font-size: .85rem; }
  details::details-content { content-visibility: visible; block-size: auto; }
  h2, h3 { break-after: avoid; } figure, tr, pre { break-inside: avoid; } }
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
<body{look}>
<a class="skip" href="#content">Skip to the report</a>
<div class="page">
<header>
<h1>{title}</h1>
{summary}
</header>
{contents}
<main id="content" tabindex="-1">
{body}
</main>
</div>
{scripts}
</body>
</html>
"""
