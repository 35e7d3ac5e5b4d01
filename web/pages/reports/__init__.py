"""Reports: pages to print, to copy as Markdown or as plain text, and to download as CSV.

document    the model of all reports; texts: its other forms; page: its rendering; old_data: a fact of several
shift       shift_period, shift_data: what it reports; shift_page: its addresses
playback    playback_comparison: its judgements; playback_page: its addresses
efficiency  efficiency_page: its addresses
"""
