"""Model references and versions of rows: a Django project, and its cases.

A case runs in a process in which Django is set up, once for each database; test_rows.py starts them.
"""
