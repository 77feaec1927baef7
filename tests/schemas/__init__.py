"""Schemas as frameworks make them: mapped, installed, written as their ORMs write, delivered by a
real daemon, and removed without a trace. A kind is an SQL file and a mapping, made for these tests.
"""
