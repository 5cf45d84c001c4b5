/// The style of a page of results. Colours only repeat what words and forms say.
let pageStyle = """
  :root { --ground: #fbfaf8; --card: #fff; --ink: #1f2328; --soft: #5b626b; --rule: #dcd9d3;
    --good: #1a6f3c; --bad: #b3261e; --doubt: #8a5a00; --accent: #1d5fa8; --mark: #fbe3e0; --area: #f3e6c8; }
  @media (prefers-color-scheme: dark) { :root { --ground: #15171a; --card: #1d2024; --ink: #e4e6e9;
    --soft: #9aa2ac; --rule: #363b42; --good: #6fca8e; --bad: #ff8a80; --doubt: #e3b341; --accent: #79b4f2;
    --mark: #4a2624; --area: #3d3420; } }
  * { box-sizing: border-box; }
  html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
  body { margin: 0; background: var(--ground); color: var(--ink);
    font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
  main { max-width: 50rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
  h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; }
  h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
  h3 { font-size: 1rem; margin: 1.6rem 0 .6rem; color: var(--soft); font-weight: 600; }
  h4 { font-size: .95rem; margin: 0 0 .4rem; font-weight: 600; }
  p { margin: .4rem 0; }
  h1, h4, p, dd, li, td, bdi, code { overflow-wrap: anywhere; }
  bdi { overflow: clip; }
  a { color: var(--accent); }
  code, pre { font: .86em/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
  pre { margin: .3rem 0; padding: .55rem .7rem; background: var(--ground); border: 1px solid var(--rule);
    border-radius: 6px; white-space: pre-wrap; overflow-wrap: anywhere; font-size: .8rem; }
  .verdict { font-size: 1.1rem; font-weight: 600; }
  .good { color: var(--good); } .bad { color: var(--bad); } .none { color: var(--soft); }
  header dl { display: flex; flex-wrap: wrap; gap: .6rem 2rem; margin: 1rem 0 0; }
  header dl div { max-width: 100%; }
  dt { color: var(--soft); font-size: .82rem; } dd { margin: 0; }
  .scroll { overflow-x: auto; max-width: 100%; }
  table { border-collapse: collapse; font-size: .9rem; }
  .figures { font-variant-numeric: tabular-nums; }
  th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--rule); text-align: right; white-space: nowrap; }
  th:first-child { text-align: left; padding-left: 0; } th { font-weight: 500; }
  thead th { color: var(--soft); font-size: .82rem; vertical-align: bottom; }
  td.bad { font-weight: 700; } td.words, th.words { text-align: left; }
  .taps th:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 7.5rem; }
  .tokens thead th[colspan] { text-align: left; }
  td.words code { white-space: pre; }
  tr.first { background: var(--mark); } tr.first td, tr.first th { font-weight: 700; }
  article { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: .9rem 1rem;
    margin: .8rem 0; }
  .kind { display: inline-block; border: 1px solid currentColor; border-radius: 4px; padding: 0 .4rem;
    font-size: .78rem; } .doubt { color: var(--doubt); }
  .title { color: var(--soft); } .again { color: var(--soft); font-size: .82rem; margin: .6rem 0 0; }
  figure { margin: .7rem 0; }
  figcaption { color: var(--soft); font-size: .82rem; }
  .curve svg { width: 100%; height: auto; display: block; } .curve svg.narrow { display: none; }
  .curve svg.key { display: inline; width: 26px; height: 12px; vertical-align: -1px; }
  .curve figcaption span { display: inline-block; margin-right: .9rem; white-space: nowrap; }
  svg text { fill: var(--soft); font: 11px system-ui, "DejaVu Sans", sans-serif; }
  svg text.first { fill: var(--bad); font-weight: 700; font-size: 11.5px; }
  svg path { fill: none; stroke: var(--soft); stroke-width: 1; }
  svg path.grid { stroke: var(--rule); stroke-width: .6; } svg path.border { stroke: var(--rule); }
  svg path.doubt { fill: var(--area); stroke: none; } svg path.noise { stroke-dasharray: 1.5 3; stroke-width: 1.5; }
  svg path.limit { stroke: var(--doubt); stroke-width: 1.5; stroke-dasharray: 6 3; }
  svg path.far { stroke: var(--bad); stroke-width: 1.2; stroke-dasharray: 9 3 2 3; }
  svg path.curve { stroke: var(--accent); stroke-width: 1.6; }
  svg path.first { stroke: var(--bad); stroke-width: 1.2; stroke-dasharray: 3 3; }
  svg circle.close { fill: var(--accent); }
  svg path.undecided { fill: var(--card); stroke: var(--doubt); stroke-width: 1.5; }
  svg path.wrong { fill: var(--bad); stroke: none; } svg path.cross { stroke: var(--bad); stroke-width: 1.8; }
  .pictures { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: .7rem; }
  .pictures figure { margin: .3rem 0; }
  .pictures img { width: 100%; display: block; image-rendering: pixelated; border: 1px solid var(--rule); }
  mark { background: var(--mark); color: inherit; font-weight: 700; }
  .texts div { display: grid; grid-template-columns: 5rem 1fr; } .texts code { white-space: pre-wrap; }
  .mistakes div { margin: .6rem 0; } .mistakes dt { font-weight: 600; color: inherit; font-size: 1rem; }
  .mistakes div:target, article:target { outline: 2px solid var(--accent); outline-offset: 4px; }
  details { margin: .6rem 0; } summary { cursor: pointer; } .ids code { margin-right: .5rem; }
  ul { padding-left: 1.2rem; } footer { margin-top: 2.5rem; color: var(--soft); font-size: .85rem;
    border-top: 1px solid var(--rule); padding-top: .6rem; }
  @media (max-width: 40rem) { h1 { font-size: 1.35rem; } article { padding: .8rem .75rem; }
    .curve svg.wide { display: none; } .curve svg.narrow { display: block; }
    svg.narrow text { font-size: 10px; } th, td { padding: .3rem .38rem; }
    table { font-size: .8rem; } thead th { font-size: .76rem; } }
  @media print { :root { --ground: #fff; --card: #fff; --ink: #000; --soft: #444; --rule: #bbb; --good: #0b5a2a;
    --bad: #9b1c14; --doubt: #6d4700; --accent: #124a86; --mark: #f5dcd9; --area: #f3e6c8; }
    body { font-size: 10.5pt; } main { max-width: none; padding: 0; }
    article, figure, tr { break-inside: avoid; } h2, h3, h4 { break-after: avoid; }
    .scroll { overflow: visible; } a { color: inherit; text-decoration: none; }
    * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
  """
