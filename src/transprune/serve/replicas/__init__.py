"""Several replicas of a server on Ray Serve, behind one front.

    client -> front (this process) -> Ray Serve -> replica (a process with its model)

Ray Serve brings an HTTP proxy of its own, which is not used. It reads bodies of any size into memory
before anybody has looked at the token, answers some routes itself, and obeys headers of clients. So
the front is ours: guard, admission and the limits of bodies are those of a server without replicas,
and Ray carries only requests that have passed them.
"""
