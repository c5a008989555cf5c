"""One sequence through the gateway: its run, attempts and journal, and what a failure means.

run       from admission to the last frame, over as many workers as it takes
attempt   one try on one worker
journal   what the client has of it
failure   the one table of what can go wrong and what that means
recovery  who may try again, after what pause, at whose expense
truth     what a worker may say
"""
