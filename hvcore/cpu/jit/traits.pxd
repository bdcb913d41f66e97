# What an operation does with the flags, and whether it may leave its block (`traits.py` is the table).
cdef enum:
    SETS = 1                # all status flags
    READS = 2
    EXITS = 4               # it may fault, and the flags must stand in the record then
    CALLS = 8               # it has no translation
    KEEPS_CARRY = 16        # it sets all but CF: INC and DEC
    MODIFIES = 32           # it writes memory: its block may be left behind it, written over, with its flags
    TOUCHES = 64            # it leaves some flags as they were, or all where its count is 0
    BRANCHES = 128          # it goes elsewhere: only with the operand size of the code
    MAY_WAIT = 256          # its flags may wait until a stub wants them (waiting.py),
    LETS_WAIT = 512         # those of before it may: it looks at none, and only stubs of memory.py call or leave
    UNTRANSLATED = 14       # READS, EXITS and CALLS
