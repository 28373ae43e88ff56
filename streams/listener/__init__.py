"""
How every HTTP listener of the project listens: the door, the live page, `/metrics`.

In the order of a request: `protocol` (a connection), `framing` (its bytes to heads and bodies, nothing ambiguous),
`clients` (who has what share of the process), `hosts` (which names and pages are answered); `serving` makes the server,
`exposition` is `/metrics`.
"""
