"""Layout and style of the report page, as a template for jinja2."""

STYLE = """
:root { color-scheme: light; --ink: #1c2733; --soft: #5b6b7b; --line: #dde3e9; --accent: #2f6f9f; --wash: #f4f7f9; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: #fff; color: var(--ink); font: 15px/1.5 "Helvetica Neue", Arial, "Liberation Sans",
  "DejaVu Sans", sans-serif; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
main { max-width: 1080px; margin: 0 auto; padding: 32px 28px 48px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 18px; margin: 36px 0 12px; padding-bottom: 6px; border-bottom: 2px solid var(--ink); }
h3 { font-size: 16px; margin: 0 0 10px; overflow-wrap: anywhere; }
p { margin: 0 0 8px; }
.soft, figcaption, caption { color: var(--soft); font-size: 13px; }
.lead { font-size: 16px; max-width: 75ch; }
.tiles { display: flex; flex-wrap: wrap; gap: 10px; margin: 20px 0 22px; padding: 0; list-style: none; }
.tiles li { flex: 1 1 100px; background: var(--wash); border-left: 3px solid var(--accent); padding: 10px 14px; }
.tiles b { display: block; font-size: 24px; line-height: 1.2; font-variant-numeric: tabular-nums; white-space: nowrap; }
.tiles span { color: var(--soft); font-size: 13px; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 18px 26px;
  margin-top: 18px; }
.charts figure { max-width: 420px; margin: 0; }
.chart { display: block; width: 100%; height: auto; }
.chart rect { fill: var(--accent); }
.chart line { stroke: var(--soft); stroke-width: 1; }
.chart text { fill: var(--soft); font-size: 10.5px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 12px 0; padding: 0; list-style: none;
  font-size: 14px; }
.swatch { display: inline-block; width: 12px; height: 12px; margin-right: 6px; border: 1px solid #0005;
  border-radius: 2px; vertical-align: -1px; }
.wide { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: 0 0 8px; }
th { text-align: right; font-weight: 600; padding: 6px 10px; border-bottom: 1.5px solid var(--ink);
  vertical-align: bottom; }
td { text-align: right; padding: 5px 10px; border-bottom: 1px solid var(--line); vertical-align: top;
  line-height: 1.35; }
td small { display: block; color: var(--soft); font-size: 11px; line-height: 1.1; }
th:first-child, td:first-child { text-align: left; padding-left: 0; overflow-wrap: anywhere; min-width: 10em; }
th { white-space: nowrap; }
td { white-space: nowrap; }
td:first-child, td.text { white-space: normal; }
td.text { text-align: left; }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
.bar { display: block; height: 4px; margin-top: 2px; background: var(--line); border-radius: 2px; overflow: hidden;
  min-width: 56px; }
.bar i { display: block; height: 100%; background: var(--accent); }
.stack { display: flex; width: 84px; height: 11px; margin-top: 4px; border: 1px solid #0003; border-radius: 2px;
  overflow: hidden; margin-left: auto; }
.stack i { height: 100%; }
article { padding: 18px 0 20px; border-bottom: 1px solid var(--line); break-inside: avoid; }
article:last-of-type { border-bottom: 0; }
.pair { display: flex; gap: 10px; }
.pair figure { flex: 1 1 0; margin: 0; min-width: 0; }
.pair img { display: block; width: 100%; height: auto; background: #000; }
.below { display: flex; gap: 28px; margin-top: 12px; align-items: flex-start; }
.below .said { flex: 1 1 0; }
.below figure { flex: 0 0 320px; margin: 0; }
pre { font: 11.5px/1.45 "DejaVu Sans Mono", Consolas, monospace; background: var(--wash); padding: 12px;
  margin: 8px 0 0; white-space: pre-wrap; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 16px; margin: 0; font-size: 13.5px; }
dt { font-weight: 600; }
dd { margin: 0; }
@media (max-width: 640px) {
  main { padding: 20px 14px; }
  .pair, .below { flex-direction: column; }
  .below figure { flex-basis: auto; width: 100%; max-width: 320px; }
  dl { grid-template-columns: 1fr; }
}
@page { size: A4; margin: 14mm 13mm; }
@media print {
  body { font-size: 10pt; }
  main { max-width: none; padding: 0; }
  h1 { font-size: 20pt; }
  h2 { break-after: avoid; }
  tr, figure, .tiles li { break-inside: avoid; }
  thead { display: table-header-group; }
  a { color: inherit; }
  .wide { overflow: visible; }
  table { font-size: 8pt; }
  td, th { padding-left: 4px; padding-right: 4px; }
  th:first-child, td:first-child { min-width: 15em; }
  .stack { width: 64px; }
  article { padding: 10px 0; }
  .pair { width: 88%; }
}
"""

TEMPLATE = (
    """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ page.title }}</title>
<style>"""
    + STYLE
    + """</style>
</head>
<body>
<main>
<header>
<h1>{{ page.title }}</h1>
<p class="soft">{{ plural(page.images|length, "image") }}
{%- if shown|length < page.images|length %}, {{ shown|length }} of them shown{% endif %}; areas in pixels of the input
images</p>
</header>
<ul class="tiles">
{% for number, name in tiles %}
<li><b>{{ number }}</b><span>{{ name }}</span></li>
{% endfor %}
</ul>
<p class="lead">{{ page.sentences|join(" ") }}</p>
{% if colors %}
<ul class="legend">
{% for name, color in colors.items() %}
<li><span class="swatch" style="background:{{ color }}"></span>{{ name }}:
{{ "{:,}".format(totals[name]) }}</li>
{% endfor %}
</ul>
{% endif %}
<div class="charts">
{% for name, chart in charts %}
<figure>{{ chart }}<figcaption>{{ name }}</figcaption></figure>
{% endfor %}
</div>

<h2>All images</h2>
<div class="wide">
<table>
<thead><tr><th scope="col">Image</th><th scope="col">Cells</th>
{% if colors %}<th scope="col">Types</th>{% endif %}
<th scope="col">Confluence</th><th scope="col">Area, median and<br>middle half, px</th>
<th scope="col">Touching</th><th scope="col">Elongated</th><th scope="col">Roundness,<br>median</th>
{% if scored %}<th scope="col">Confidence,<br>median</th>{% endif %}</tr></thead>
<tbody>
{% for row in rows %}
<tr><td>{% if row.shown %}<a href="#image-{{ row.place }}">{{ row.facts.key }}</a>
{%- else %}{{ row.facts.key }}{% endif %}</td>
<td>{{ "{:,}".format(row.facts.count) }}<span class="bar"><i style="width:{{ row.count_bar }}%"></i></span></td>
{% if colors %}
<td>{% if row.types %}<span class="stack">
{%- for name, number, share in row.types -%}
<i style="width:{{ share }}%;background:{{ colors[name] }}" title="{{ name }}: {{ number }}"></i>
{%- endfor %}</span>{% endif %}</td>
{% endif %}
<td>{{ row.facts.confluence|percent }}<span class="bar"><i style="width:{{ row.cover_bar }}%"></i></span></td>
<td>{{ row.area }}{% if row.spread %}<small>{{ row.spread }}</small>{% endif %}</td>
<td>{{ row.facts.touching|percent }}</td><td>{{ row.facts.elongated|percent }}</td><td>{{ row.roundness }}</td>
{% if scored %}<td>{{ row.score }}</td>{% endif %}</tr>
{% endfor %}
</tbody>
</table>
</div>
{% if page.skipped %}

<h2>Skipped images</h2>
<div class="wide">
<table>
<thead><tr><th scope="col">Image</th><th scope="col" style="text-align:left">Reason</th></tr></thead>
<tbody>
{% for key, reason in page.skipped %}
<tr><td>{{ key }}</td><td class="text">{{ reason }}</td></tr>
{% endfor %}
</tbody>
</table>
</div>
{% endif %}
{% if shown %}

<h2>Image by image</h2>
{% for item in shown %}
{% set picture = item.image.pictures %}
<article id="image-{{ item.place }}">
<h3>{{ item.image.facts.key }}</h3>
<div class="pair">
<figure><img src="{{ picture.plain }}" width="{{ picture.width }}" height="{{ picture.height }}"
 alt="{{ item.image.facts.key }}"></figure>
<figure><img src="{{ picture.outlined }}" width="{{ picture.width }}" height="{{ picture.height }}"
 alt="{{ item.image.facts.key }} with the outlines of its cells"></figure>
</div>
<div class="below">
<div class="said">
<p>{{ item.image.sentences|join(" ") }}</p>
</div>
{% if item.chart %}
<figure>{{ item.chart }}<figcaption>Area of the cells, px; one scale for all images</figcaption></figure>
{% endif %}
</div>
</article>
{% endfor %}
{% endif %}

<h2>What the numbers mean</h2>
<dl>
<dt>Confluence</dt><dd>part of the image that cells cover; where cells overlap, a pixel counts once</dd>
<dt>Touching</dt><dd>part of the cells with a pixel on or beside a pixel of another cell</dd>
<dt>Elongated</dt><dd>part of the cells that are at least twice as long as wide (ellipse with the same moments)</dd>
<dt>Roundness</dt><dd>4&pi; area / perimeter&sup2;, at most 1, which a disc has</dd>
{% if scored %}<dt>Confidence</dt><dd>score that the ensemble gives to a cell, 0 to 1</dd>{% endif %}
<dt>Pictures</dt><dd>brightness is stretched for display; outlines
{% if colors %}have the colour of the cell's type{% else %}of neighbours have different colours, which mean nothing else
{% endif %}</dd>
</dl>

<h2>Origin</h2>
<p class="soft">Versions, settings and hashes of everything that these results follow from. All cells stand in
cells.csv, all values of this page in report.json.</p>
<pre>{{ provenance }}</pre>
</main>
</body>
</html>
"""
)
