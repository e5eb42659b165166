"""The frame of the page of explored trees: style, and two buttons. What unfolds is HTML's own `details`."""

HEAD = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>What RAIN explored</title>
<style>
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --faint: #57606a; --line: #d0d7de;
  --chosen: #ddf4ff; --good: #116329; --bad: #a40e26 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #0d1117; --faint: #9da7b1; --line: #30363d;
  --chosen: #0c2d6b; --good: #56d364; --bad: #ff9492 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
  max-width: 75rem; padding: 1rem; overflow-wrap: anywhere }
h1 { font-size: 1.3rem }
dt, small { color: var(--faint) }
dd { margin: 0 0 .5rem 1rem }
q, .text { font-family: ui-monospace, monospace; white-space: pre-wrap }
q::before { content: "\\201c" } q::after { content: "\\201d" }
ul { list-style: none; margin: 0; padding-left: 1.2rem; border-left: 1px solid var(--line) }
summary { cursor: pointer; padding: .1rem .3rem; border-radius: .3rem }
summary:hover { background: color-mix(in srgb, var(--faint) 15%, transparent) }
summary:focus-visible, button:focus-visible { outline: 2px solid var(--good) }
.leaf { padding: .1rem .3rem .1rem 1.3rem }
.rest { padding: .1rem .3rem .1rem 1.3rem; color: var(--faint); font-size: .85rem }
.judged { padding: .1rem .3rem; font-size: .85rem; color: var(--faint) }
.commit { margin: .5rem 0; border: 1px solid var(--line); border-radius: .4rem; padding: .3rem }
.commit > summary { font-weight: 600 }
.committed > details > summary, .committed > .leaf { background: var(--chosen) }
.good { color: var(--good) } .bad { color: var(--bad) } .end { color: var(--faint) }
</style>
<h1>What RAIN explored</h1>
"""
LEGEND = """Before each commit, the sets of tokens that were tried, each under what it continues. Its value is the mean
of what the judge said of texts that go on from it, from -1 to +1; its prior, what the model gives it. Unfolded, it
begins with the text that it was judged by itself, from the end of the prompt on: what was said before, the set, and the
rest of the sentence as it was simulated."""
FOOT = """
<script>
const bar = document.createElement("p");
for (const [name, open] of [["Unfold all", true], ["Fold all", false]]) {
  const button = document.createElement("button");
  button.textContent = name;
  button.onclick = () => document.querySelectorAll("details").forEach(d => d.open = open);
  bar.append(button, " ");
}
document.querySelector("h1").after(bar);
</script>
"""
