"""What others in the database do to our tables, and to our DDL. All of it only reads.

publications.py    who is sent the rows of our tables, and whether PostgreSQL refuses to change them
row_security.py    whether policies hide rows from a role of ours, or refuse them
event_triggers.py  which functions of others run at our DDL
"""
