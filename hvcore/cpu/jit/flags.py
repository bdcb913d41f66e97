"""Host code's arithmetic and its flags, which stay lazy: `flags.py` says what is kept of them (see translate.py).

What is wanted of an operation's flags is known (`live`): all, nothing, or only CF, which an INC or DEC behind it
leaves alone. As long as the host's own flags say what the guest's do, conditions are taken from there (`host_flags`).
"""

import cython

if cython.compiled:
    from cython.cimports.hvcore.cpu import arith, flags
    from cython.cimports.hvcore.cpu.jit.assembler import *
    from cython.cimports.hvcore.cpu.jit.flags import *
    from cython.cimports.hvcore.cpu.jit.registers import *
    from cython.cimports.hvcore.cpu.kinds import *
    from cython.cimports.hvcore.cpu.state import *
else:
    from hvcore.cpu.constants import *

STATUS_FLAGS = cython.declare(u32, 0x8D5)  # OF SF ZF AF PF CF


def routines(c):
    """What a block calls for the flags of another: whose they are shows when it runs. RDX and the host's are lost."""
    carry_routine(c)
    status_routine(c)


def carry_routine(c):
    """Have CF in `cc_cf`."""
    stands: u32
    other: u32
    c.code_carry = c.code_used
    with_field(c, X_MOVZX16, 0, HDX, field(c, cython.address(c.cc_op)))
    with_immediate(c, 7, 0, HDX, CC_INC)
    stands = jump_if(c, CARRY_CLEAR)  # INC, DEC, SHIFT
    with_immediate(c, 7, 0, HDX, CC_SUB)
    other = jump_if(c, NOT_ZERO)
    load64(c, HDX, field(c, cython.address(c.cc_a)))
    with_field(c, X_CMP, 1, HDX, field(c, cython.address(c.cc_b)))
    keep_carry(c, CARRY, CARRY_SET)
    put8(c, X_RET)
    bind(c, other)
    with_immediate(c, 7, 0, HDX, CC_LOGIC)
    other = jump_if(c, NOT_ZERO)
    set_field(c, 0, field(c, cython.address(c.cc_cf)), 0)
    put8(c, X_RET)
    bind(c, other)
    ask(c, cython.cast(cython.p_void, flags.carry))
    with_field(c, X_STORE, 0, HAX, field(c, cython.address(c.cc_cf)))
    answered(c)
    bind(c, stands)
    put8(c, X_RET)


def status_routine(c):
    """Have the status flags in the host's, where conditions look: all but AF."""
    other: u32
    size: u32
    c.code_status = c.code_used
    load(c, HDX, field(c, cython.address(c.cc_op)))  # cc_size lies behind it
    for size in range(3):
        with_immediate(c, 7, 0, HDX, CC_SUB | ((2 - size) << 16))
        other = jump_if(c, NOT_ZERO)
        load64(c, HDX, field(c, cython.address(c.cc_a)))
        if size == 1:
            put8(c, 0x66)
        with_field(c, X_CMP if size < 2 else X_CMP - 1, 0, HDX, field(c, cython.address(c.cc_b)))
        put8(c, X_RET)
        bind(c, other)
        with_immediate(c, 7, 0, HDX, CC_LOGIC | ((2 - size) << 16))
        other = jump_if(c, NOT_ZERO)
        load64(c, HDX, field(c, cython.address(c.cc_res)))
        sized(c, X_TEST, 2 - size, HDX, HDX)
        put8(c, X_RET)
        bind(c, other)
    ask(c, cython.cast(cython.p_void, flags.status))
    with_immediate(c, 4, 0, HAX, STATUS_FLAGS)
    put8(c, X_PUSH_AX)
    put8(c, X_POPF)
    answered(c)
    put8(c, X_RET)


def ask(c, function):
    """Call a function of ours from a routine; RAX and RCX come back with `answered`, which keeps the host's flags."""
    store64(c, HAX, field(c, cython.address(c.native_kept[0])))
    store64(c, HCX, field(c, cython.address(c.native_kept[1])))
    store_registers(c)
    with_memory(c, X_LEA, 1, HSP, HSP, NO_REG, 0, -8)  # aligned again, behind the return address
    call_out(c, function)
    with_memory(c, X_LEA, 1, HSP, HSP, NO_REG, 0, 8)
    load_registers(c)


def answered(c):
    """And go on."""
    load64(c, HAX, field(c, cython.address(c.native_kept[0])))
    load64(c, HCX, field(c, cython.address(c.native_kept[1])))


def remember(c, live, op, size, reg):
    """The result in `reg`, and the operands stored before, are where the flags come from."""
    if live == ALL:
        store64(c, reg, field(c, cython.address(c.cc_res)))
        set_field(c, 0, field(c, cython.address(c.cc_op)), op | (size << 16))  # cc_size lies behind it
    c.known = op
    c.known_size = size
    c.carry_stands = op == CC_INC or op == CC_DEC or op == CC_SHIFT or live == CARRY


def keep_carry(c, live, condition):
    """CF, or OF where a multiplication says both with it, is the host's `condition` now; where only it is wanted."""
    if live == CARRY:
        with_field(c, X_SETCC + condition, 0, 0, field(c, cython.address(c.cc_cf)))  # whose other bytes are 0


def keep_operands(c, live):
    """EAX and ECX are the operands that the flags come from."""
    if live == ALL:
        store64(c, HAX, field(c, cython.address(c.cc_a)))
        store64(c, HCX, field(c, cython.address(c.cc_b)))


def sized(c, op, size, reg, rm):
    """An instruction on two registers of 8, 16 or 32 bits; `op` is its 32-bit form."""
    if size == 1:
        put8(c, 0x66)
    with_register(c, op if size else op - 1, 0, reg, rm)


def carry_to_host(c):
    """Have CF in the host's; EDX is lost, EAX and ECX are kept."""
    if c.host_flags & HOST_CF:
        return
    if c.carry_stands:
        with_field(
            c, X_MOVZX8, 0, HDX, field(c, cython.address(c.cc_cf))
        )  # a byte: it may just have been stored
        shift(c, 5, 0, HDX, 1)  # SHR: what was bit 0 is CF
    elif c.known == CC_SUB:
        load64(c, HDX, field(c, cython.address(c.cc_a)))
        with_field(c, X_CMP, 1, HDX, field(c, cython.address(c.cc_b)))
    elif c.known == CC_ADD:
        load64(c, HDX, field(c, cython.address(c.cc_res)))
        with_field(c, X_CMP, 1, HDX, field(c, cython.address(c.cc_a)))
    elif c.known == CC_LOGIC:
        put8(c, 0xF8)  # CLC
    else:
        call_near(c, c.code_carry)
        c.carry_stands = 1
        carry_to_host(c)
    c.host_flags = HOST_CF


def prepare(c, code):
    """Make condition `code` one of the host's, and return which."""
    k: u32 = code >> 1
    need: u32 = HOST_ZF
    if k == 0:
        need = HOST_OF
    elif k == 1:
        need = HOST_CF
    elif k == 3:
        need = HOST_CF | HOST_ZF
    elif k >= 6:
        need = HOST_ZF | HOST_OF
    if need & c.host_flags == need:
        return code
    if c.known == CC_SUB or c.known == CC_ADD:
        load64(c, HAX, field(c, cython.address(c.cc_a)))
        load64(c, HCX, field(c, cython.address(c.cc_b)))
        sized(c, X_CMP if c.known == CC_SUB else X_ADD, c.known_size, HAX, HCX)
        c.host_flags = HOST_ALL
    elif c.known == CC_LOGIC or (need == HOST_ZF and c.known != UNKNOWN and c.known != CC_FLAGS):
        load64(c, HAX, field(c, cython.address(c.cc_res)))
        sized(c, X_TEST, c.known_size, HAX, HAX)
        c.host_flags = HOST_ALL if c.known == CC_LOGIC else HOST_ZF
    else:
        call_near(c, c.code_status)
        c.host_flags = HOST_ALL
    return code


def arithmetic(c, sub, live, size):
    """EAX = EAX op ECX, with its flags; all of ADD OR ADC SBB AND SUB XOR CMP TEST (0 to 8)."""
    op: u32 = CC_LOGIC
    if sub == 2 or sub == 3:
        carry_to_host(c)
        keep_operands(c, live)
        sized(c, X_ADC if sub == 2 else X_SBB, size, HAX, HCX)
        op = CC_ADC if sub == 2 else CC_SBB
    elif sub == 0:
        keep_operands(c, live)
        sized(c, X_ADD, size, HAX, HCX)
        op = CC_ADD
    elif sub == 5 or sub == 7:
        keep_operands(c, live)
        sized(c, X_SUB, size, HAX, HCX)
        op = CC_SUB
    elif sub == 1:
        sized(c, X_OR, size, HAX, HCX)
    elif sub == 6:
        sized(c, X_XOR, size, HAX, HCX)
    else:
        sized(c, X_AND, size, HAX, HCX)
    c.host_flags = HOST_ALL
    keep_carry(c, live, CARRY_SET)
    if live == ALL and size == 0:
        with_register(c, X_MOVZX8, 0, HAX, HAX)
    elif live == ALL and size == 1:
        with_register(c, X_MOVZX16, 0, HAX, HAX)
    remember(c, live, op, size, HAX)


def arithmetic_in_place(c, o, sub, live, immediate):
    """The same of 32 bits where both operands are at home, or the second is an immediate; not ADC and SBB."""
    op: u32 = CC_LOGIC
    code: u32 = X_AND
    reg: u32 = home(o.reg)
    rm: u32 = HCX
    writes: u32 = sub < 7
    if not immediate:
        rm = home(o.rm)
    elif live == ALL or sub >= 8:
        constant(c, HCX, o.imm & M32)
        immediate = 0
    if sub == 0:
        op = CC_ADD
        code = X_ADD
    elif sub == 5 or sub == 7:
        op = CC_SUB
        code = X_SUB
    elif sub == 1:
        code = X_OR
    elif sub == 6:
        code = X_XOR
    if live == ALL:
        if op != CC_LOGIC:
            store64(c, reg, field(c, cython.address(c.cc_a)))
            store64(c, rm, field(c, cython.address(c.cc_b)))
        if not writes and not (sub == 8 and reg == rm):  # the result is wanted, but not in the register
            with_register(c, X_STORE, 0, reg, HAX)
            reg = HAX
        with_register(c, X_TEST if sub == 8 and reg == rm else code, 0, reg, rm)
    elif not writes:
        if immediate:
            with_immediate(c, 7, 0, reg, o.imm & M32)
        else:
            with_register(c, X_CMP if sub == 7 else X_TEST, 0, reg, rm)
    elif immediate:
        with_immediate(c, sub, 0, reg, o.imm & M32)
    else:
        with_register(c, code, 0, reg, rm)
    c.host_flags = HOST_ALL
    keep_carry(c, live, CARRY_SET)
    remember(c, live, op, 2, reg)


def stand_carry(c, live):
    """Have CF in `cc_cf`, where INC and DEC leave it."""
    if live and not c.carry_stands and c.known == UNKNOWN and not c.host_flags & HOST_CF:
        call_near(c, c.code_carry)
        c.carry_stands = 1
    elif live and not c.carry_stands:
        carry_to_host(c)
        keep_carry(c, CARRY, CARRY_SET)
        c.carry_stands = 1


def step(c, live, down, reg):
    """`reg` +- 1 with the flags of INC and DEC, which leave CF alone."""
    with_immediate(c, 5 if down else 0, 0, reg, 1)
    c.host_flags = HOST_ZF | HOST_OF
    if live:
        remember(c, live, CC_DEC if down else CC_INC, 2, reg)


def shifted(c, live, op, count, reg):
    """`reg` shifted by a constant: SHL SHR SAR (4, 5, 7), with flags as `flags.shift` defines them."""
    if live == ALL:
        with_register(c, X_STORE, 0, reg, HDX)
    shift(c, op, 0, reg, count)
    c.host_flags = HOST_CF | HOST_ZF
    keep_carry(c, live, CARRY_SET)
    if live == ALL:
        keep_carry(c, CARRY, CARRY_SET)
        if op == 4:  # OF is the result's sign against CF
            with_register(c, 0x192, 0, 0, HCX)  # SETB CL
            with_register(c, X_MOVZX8, 0, HCX, HCX)
            with_register(c, X_STORE, 0, reg, HDX)
            shift(c, 5, 0, HDX, 31)
            with_register(c, X_XOR, 0, HDX, HCX)
        elif op == 5 and count == 1:  # the operand's sign
            shift(c, 5, 0, HDX, 31)
        else:
            with_register(c, X_XOR, 0, HDX, HDX)
        store64(c, HDX, field(c, cython.address(c.cc_a)))
        c.host_flags = 0
    remember(c, live, CC_SHIFT, 2, reg)


def rotate(c, o, live):
    """ROL and ROR of a 32-bit register by a constant; where nobody asks for CF and OF, by the host alone."""
    if live:
        call_shift(c, o)
        return
    get(c, o.reg, HAX)
    shift(c, 1 if o.kind == ROR32_I else 0, 0, HAX, o.imm & 31)
    put(c, o.reg, HAX)
    c.host_flags = 0


def shift_by_cl(c, o, live):
    """SHL SHR SAR of a 32-bit register by CL; a count of 0 does nothing, to the flags either."""
    none: u32
    get(c, RCX, HCX)
    with_immediate(c, 4, 0, HCX, 31)
    none = jump_if(c, ZERO)
    get(c, o.reg, HAX)
    opcode(c, 0xD3, 0, 0, 0, 0)
    put8(c, 0xC0 | (o.sub << 3) | HAX)
    if live:
        with_register(c, 0x192, 0, 0, HCX)  # SETB CL
        with_register(c, X_MOVZX8, 0, HCX, HCX)
        with_field(c, X_STORE, 0, HCX, field(c, cython.address(c.cc_cf)))
        with_register(c, X_STORE, 0, HAX, HDX)
        if o.sub == 5:  # OF is what was bit 31 before the last step
            shift(c, 5, 0, HDX, 30)
        elif o.sub == 7:
            with_register(c, X_XOR, 0, HDX, HDX)
        else:
            shift(c, 5, 0, HDX, 31)
            with_register(c, X_XOR, 0, HDX, HCX)
        store64(c, HDX, field(c, cython.address(c.cc_a)))
        remember(c, ALL, CC_SHIFT, 2, HAX)
    put(c, o.reg, HAX)
    bind(c, none)
    c.known = UNKNOWN
    c.carry_stands = 0
    c.host_flags = 0


def count_to_ecx(c, o):
    """ECX = the count of a shift, a constant or CL."""
    if o.kind == SHIFT_RC or o.kind == SHLD_RC or o.kind == SHRD_RC:
        get_byte(c, RCX, 0, HCX)
    else:
        constant(c, HCX, o.imm & 0xFF)


def put_result(c, o):
    """The register of `o`, of its size, = EAX."""
    put_sized(c, o, o.reg, o.rsh)
    c.known = UNKNOWN
    c.carry_stands = 0
    c.host_flags = 0


def call_shift(c, o):
    """Shifts and rotations that are too rare for code of their own."""
    count_to_ecx(c, o)
    get_sized(c, o, o.reg, o.rsh, HDX)
    store_registers(c)
    constant(c, HSI, o.sub)
    constant(c, H8, o.size)
    call_out(c, cython.cast(cython.p_void, flags.shift))
    load_registers(c)
    put_result(c, o)


def call_double_shift(c, o):
    """SHLD and SHRD of registers."""
    count_to_ecx(c, o)
    with_register(c, X_STORE, 0, HCX, HAX)
    get(c, o.reg, HDX)
    get(c, o.rm, HCX)
    store_registers(c)
    with_register(c, X_STORE, 0, HAX, H8)
    constant(c, HSI, o.kind == SHRD_RI or o.kind == SHRD_RC)
    constant(c, H8 + 1, 2)
    call_out(c, cython.cast(cython.p_void, arith.double_shift))
    load_registers(c)
    put_result(c, o)


def multiplied(c, live, reg, rm):
    """`reg` = `reg` * `rm` as IMUL does it."""
    with_register(c, X_IMUL, 0, reg, rm)
    keep_product_flags(c, live, reg)


def keep_product_flags(c, live, reg):
    """The flags of a multiplication whose low half is in `reg`, as `arith.multiplied` has them."""
    c.host_flags = 0
    keep_carry(c, live, OVERFLOW)
    if live == ALL:
        with_register(c, X_SETCC, 0, 0, HCX)  # SETO CL
        with_register(c, X_MOVZX8, 0, HCX, HCX)
        with_field(c, X_STORE, 0, HCX, field(c, cython.address(c.cc_cf)))
        store64(c, HCX, field(c, cython.address(c.cc_a)))
    remember(c, live, CC_SHIFT, 2, reg)
