"""What runs the workers elsewhere: manifests, and how many of them there are.

May import: core; each package inside names the libraries it needs.
Read first: scaling/__init__.py.
"""
