"""The process that looks at an app's pools every 15 seconds and says how many pods each should have.

May import: core, bridge, deploy and observe; click. What is decided is the business of deploy.scaling,
how it is told that of deploy.outlets. Read first: service.py, then pool_watch.py and command.py.
"""
