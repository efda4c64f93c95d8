"""The local web page for labeling video: a server on this machine and the page that it serves.

Each handler calls one function of the library; everything that the page does can be done in Python without it.
"""
