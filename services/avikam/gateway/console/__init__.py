"""The page that a browser gets at ``/``: talk with the model, see how fast it is and how busy.

One file goes out, made of page.html, style.css and script.js; it loads nothing and asks only its
own gateway.
"""
