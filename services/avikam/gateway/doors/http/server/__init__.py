"""Our HTTP/1.1 server. uvicorn starts and ends it (``uvicorn.Config(http=...)``), the rest is here.

bytes ─► connection ─► head ─► framing ─► body ─► exchange (ASGI) ─► reply ─► bytes

acceptor      takes new connections, many per turn of the loop
listener      bounds and counts that all connections of one listener share
connection    one client's connection: whose turn it is, and for how long
head          request line and headers, within their bounds
target        what the request line asks for
framing       where the body ends
length_body, chunked_body      bodies, taken out of what arrives
exchange      one request and its reply, as ASGI sees them
reply         the reply's bytes
refusal       the reply to what never became a request
clock         alarms that are cheap to set again for every request
self_check    a request with a body comes through, or the gateway does not start

Requests of a connection are served strictly one at a time, and where a body ends is decided from
Content-Length and Transfer-Encoding alone: nothing else in a head can make a request of a body.
"""
