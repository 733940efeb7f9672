"""What healthy animals have, and what to make of a value: intervals and rules as data, pure.

`tables` says what is known, `reading` turns a TOML file into it, `loading` finds the files, and
`interpret` puts one result beside it. Imports records, units and errors only.
"""
