"""Reports: pages to print, to copy as Markdown or as plain text, and to download as CSV.

`document` is the model of all of them, `texts` has its forms besides the page, and `page` renders it. Each
report has a module that builds it (`shift`, `playback`, `efficiency`) and one for its addresses (`…_page`).
The periods of shift reports are in `shift_period`.
"""
