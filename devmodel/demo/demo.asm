; The demo guest: 64 KiB of firmware in 16-bit code that needs no BIOS and no system.
;
; It drives the five chips through interrupts, says what it found on the serial line and the screen, and then
; offers a small monitor on the serial line. Assemble with: nasm -f bin -o demo.bin demo.asm
;
; The image lies at the top of the first 4 GiB and again at F0000; it runs there with CS = F000. DS = ES = 0 are
; RAM: the interrupt vectors, then the variables below. Strings are in the image, so they are read through CS.

        cpu 486
        bits 16
        org 0

; ---------------------------------------------------------------- where things are
PIC1    equ 0x20                ; 8259A master: command, data
PIC2    equ 0xA0                ; 8259A slave
PIT     equ 0x40                ; 8254 counter 0; control word at +3
UART    equ 0x3F8               ; 16550A
IDE     equ 0x1F0               ; ATA command block; device control at 3F6
VECTORS equ 0x20                ; IRQ 0 to 7; IRQ 8 to 15 follow
HZ      equ 100
DIVISOR equ 11932               ; 1193182 Hz / 100
LOOPED  equ 0xFE                ; the self-test's byte: never in UTF-8, so nobody types it

; ---------------------------------------------------------------- variables, from 600h
        absolute 0x600
ticks   resd 1                  ; of the PIT, since the start
ides    resw 1                  ; interrupts of the disk
rxirqs  resw 1                  ; bytes that came in by interrupt
looped  resw 1                  ; of them the self-test's own
txirqs  resw 1                  ; interrupts of the transmitter
spurious resw 1
failed  resw 1                  ; parts of the self-test that went wrong
rxhead  resw 1
rxtail  resw 1
txhead  resw 1
txtail  resw 1
sectors resd 1                  ; of the disk; 0: there is none
column  resw 1                  ; on the serial line, for the results' column
selftest resw 1                 ; power off after the self-test
pmbase  resw 1                  ; ACPI power management ports; 0: not found
linelen resw 1
line    resb 80
rx      resb 256
        alignb 512
tx      resb 1024
sector  resb 512
copy    resb 512
name    resb 64

        section .text
; ---------------------------------------------------------------- start
start:
        cli
        cld
        xor     ax, ax
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     sp, 0x7C00
        mov     di, 0x500       ; clear the variables
        mov     cx, (0x1C00 - 0x500) / 2
        rep     stosw
        call    set_vectors
        call    set_pic
        call    set_pit
        call    set_uart
        call    set_screen
        call    find_power
        sti
        call    self_test
        cmp     word [selftest], 0
        je      monitor
        call    drain
        cmp     word [failed], 0
        jne     .failed
        call    power_off
.failed:
        mov     al, 1           ; debug exit: the host's status is 3
        mov     dx, 0xF4
        out     dx, al
.stop:  hlt
        jmp     .stop

; ---------------------------------------------------------------- the chips' starts
set_vectors:                    ; every vector to `ignore`, then ours
        xor     di, di
        mov     cx, 256
.next:  mov     ax, ignore
        stosw
        mov     ax, cs
        stosw
        loop    .next
        mov     word [(VECTORS + 0) * 4], on_tick
        mov     word [(VECTORS + 4) * 4], on_uart
        mov     word [(VECTORS + 7) * 4], on_spurious
        mov     word [(VECTORS + 14) * 4], on_disk
        ret

set_pic:                        ; 8259A: ICW1 to ICW4, then the masks: IRQ 0, 2, 4 and 14
        mov     al, 0x11
        out     PIC1, al
        out     PIC2, al
        mov     al, VECTORS
        out     PIC1 + 1, al
        mov     al, VECTORS + 8
        out     PIC2 + 1, al
        mov     al, 4           ; the slave is on input 2
        out     PIC1 + 1, al
        mov     al, 2
        out     PIC2 + 1, al
        mov     al, 1           ; 8086 mode, EOI by command
        out     PIC1 + 1, al
        out     PIC2 + 1, al
        mov     al, 0xFF & ~(1 << 0 | 1 << 2 | 1 << 4)
        out     PIC1 + 1, al
        mov     al, 0xFF & ~(1 << 6)
        out     PIC2 + 1, al
        ret

set_pit:                        ; counter 0, both bytes, mode 2
        mov     al, 0x34
        out     PIT + 3, al
        mov     ax, DIVISOR
        out     PIT, al
        mov     al, ah
        out     PIT, al
        ret

set_uart:                       ; 115200 8N1, FIFOs on, interrupt pin enabled through OUT2
        mov     dx, UART + 3
        mov     al, 0x80
        out     dx, al
        mov     dx, UART
        mov     al, 1
        out     dx, al
        inc     dx
        mov     al, 0
        out     dx, al
        mov     dx, UART + 3
        mov     al, 3
        out     dx, al
        inc     dx              ; a byte typed ahead would go when the FIFOs come: cut off the line, take it
        mov     al, 0x10
        out     dx, al
        inc     dx
        in      al, dx
        test    al, 1
        jz      .fifos
        mov     dx, UART
        in      al, dx
        call    received
.fifos: mov     dx, UART + 2
        mov     al, 0x07        ; enable and clear both FIFOs, trigger at one byte
        out     dx, al
        mov     dx, UART + 4
        mov     al, 0x0B
        out     dx, al
        mov     dx, UART + 1
        mov     al, 1           ; interrupt on received data
        out     dx, al
        ret

set_screen:                     ; VGA mode 3 from nothing: 80x25 text at B8000, 9x16 cells
        mov     dx, 0x3C2
        mov     al, 0x67
        out     dx, al
        mov     dx, 0x3C4
        mov     si, sequencer
        mov     cx, 5
        call    indexed
        mov     dx, 0x3D4
        mov     ax, 0x0E11      ; unlock CRTC registers 0 to 7
        out     dx, ax
        mov     si, crtc
        mov     cx, 25
        call    indexed
        mov     dx, 0x3CE
        mov     si, graphics
        mov     cx, 9
        call    indexed
        mov     dx, 0x3DA       ; address/data flip-flop to address
        in      al, dx
        mov     dx, 0x3C0
        mov     si, attribute
        xor     ah, ah
.attr:  mov     al, ah
        out     dx, al
        cs lodsb
        out     dx, al
        inc     ah
        cmp     ah, 21
        jb      .attr
        mov     al, 0x20        ; screen on
        out     dx, al
        mov     dx, 0x3C6
        mov     al, 0xFF
        out     dx, al
        mov     dx, 0x3C8       ; 64 colours: bits 2 1 0 strong, 5 4 3 weak red, green, blue
        xor     al, al
        out     dx, al
        inc     dx
        xor     bl, bl
.dac:   mov     bh, bl
        mov     cx, 3
        rol     bh, 5           ; red is bit 2 and bit 5
.part:  xor     al, al
        test    bh, 0x80
        jz      .weak
        mov     al, 0x2A
.weak:  test    bh, 0x04
        jz      .out
        add     al, 0x15
.out:   out     dx, al
        rol     bh, 1
        loop    .part
        inc     bl
        cmp     bl, 64
        jb      .dac
        push    es
        mov     ax, 0xB800
        mov     es, ax
        xor     di, di
        mov     ax, 0x1F20      ; white on blue
        mov     cx, 80 * 25
        rep     stosw
        pop     es
        mov     dx, 0x3D4       ; hide the cursor
        mov     ax, 0x200A
        out     dx, ax
        ret

indexed:                        ; CX registers from CS:SI to the index/data pair at DX
        xor     ah, ah
.next:  cs lodsb
        xchg    al, ah          ; AL index, AH value
        out     dx, ax
        xchg    al, ah
        inc     ah
        loop    .next
        ret

; ---------------------------------------------------------------- interrupts
ignore: iret

on_tick:
        push    ax
        inc     dword [ticks]
        mov     al, 0x20
        out     PIC1, al
        pop     ax
        iret

on_spurious:
        inc     word [spurious]
        iret

on_disk:
        push    ax
        push    dx
        mov     dx, IDE + 7     ; reading the status takes the request back
        in      al, dx
        inc     word [ides]
        mov     al, 0x20
        out     PIC2, al
        out     PIC1, al
        pop     dx
        pop     ax
        iret

on_uart:
        push    ax
        push    bx
        push    cx
        push    dx
.again: mov     dx, UART + 2    ; what is it?
        in      al, dx
        test    al, 1
        jnz     .done           ; nothing more
        and     al, 0x0E
        cmp     al, 0x02
        je      .transmit
        mov     dx, UART + 5    ; received data, or a line error: take bytes while there are any
.take:  in      al, dx
        test    al, 1
        jz      .again
        mov     dx, UART
        in      al, dx
        inc     word [rxirqs]
        call    received
        mov     dx, UART + 5
        jmp     .take
.transmit:
        inc     word [txirqs]
        mov     cx, 16          ; what the FIFO holds
        mov     dx, UART
.send:  mov     bx, [txtail]
        cmp     bx, [txhead]
        je      .empty
        mov     al, [tx + bx]
        out     dx, al
        inc     bx
        and     bx, 1023
        mov     [txtail], bx
        loop    .send
        jmp     .again
.empty: mov     dx, UART + 1    ; nothing left: no more interrupts for it
        mov     al, 1
        out     dx, al
        jmp     .again
.done:  mov     al, 0x20
        out     PIC1, al
        pop     dx
        pop     cx
        pop     bx
        pop     ax
        iret

received:                       ; AL goes to who reads the line; BX is lost
        cmp     al, LOOPED
        je      .looped
        mov     bx, [rxhead]
        mov     [rx + bx], al
        inc     bl
        cmp     bx, [rxtail]    ; full: the newest byte is lost
        je      .full
        mov     [rxhead], bx
.full:  ret
.looped:
        inc     word [looped]
        ret

; ---------------------------------------------------------------- the serial line
putc:                           ; AL goes out by interrupt, when `send` says so or the buffer is full
        push    bx
        push    dx
        inc     word [column]
.wait:  mov     bx, [txhead]
        inc     bx
        and     bx, 1023
        cmp     bx, [txtail]
        jne     .room
        call    send
        hlt
        jmp     .wait
.room:  xchg    bx, [txhead]
        mov     [tx + bx], al
        pop     dx
        pop     bx
        ret

send:                           ; let the transmitter interrupt: it is empty, so it does at once
        push    ax
        push    dx
        mov     dx, UART + 1
        mov     al, 3
        out     dx, al
        pop     dx
        pop     ax
        ret

newline:
        mov     al, 13
        call    putc
        mov     al, 10
        call    putc
        mov     word [column], 0
        jmp     send

puts:                           ; the string CS:SI
        push    ax
.next:  cs lodsb
        test    al, al
        jz      .end
        cmp     al, 10
        jne     .char
        call    newline
        jmp     .next
.char:  call    putc
        jmp     .next
.end:   pop     ax
        jmp     send

%macro  say 1                   ; say "text"
        jmp     %%over
%%text: db      %1, 0
%%over: mov     si, %%text
        call    puts
%endmacro

drain:                          ; until everything is out
        call    send
.wait:  mov     ax, [txtail]
        cmp     ax, [txhead]
        je      .out
        hlt
        jmp     .wait
.out:   mov     dx, UART + 5    ; and the shift register is empty
        in      al, dx
        test    al, 0x40
        jz      .out
        ret

getc:                           ; the next byte from the line in AL; sleeps
        call    send
        mov     bx, [rxtail]
.wait:  cli
        cmp     bx, [rxhead]
        jne     .have
        sti                     ; takes effect behind the HLT
        hlt
        jmp     .wait
.have:  sti
        mov     al, [rx + bx]
        inc     bl
        mov     [rxtail], bx
        ret

hex8:                           ; AL
        push    ax
        shr     al, 4
        call    .digit
        pop     ax
        push    ax
        and     al, 15
        call    .digit
        pop     ax
        ret
.digit: cmp     al, 10
        jb      .low
        add     al, 'A' - '0' - 10
.low:   add     al, '0'
        jmp     putc

hex16:                          ; AX
        xchg    al, ah
        call    hex8
        xchg    al, ah
        jmp     hex8

hex32:                          ; EAX
        rol     eax, 16
        call    hex16
        rol     eax, 16
        jmp     hex16

decimal:                        ; EAX
        pushad
        mov     ebx, 10
        xor     cx, cx
.next:  xor     edx, edx
        div     ebx
        push    dx
        inc     cx
        test    eax, eax
        jnz     .next
.out:   pop     ax
        add     al, '0'
        call    putc
        loop    .out
        popad
        ret

two:                            ; AL as two decimal digits
        aam
        add     ax, '00'
        xchg    al, ah
        call    putc
        mov     al, ah
        jmp     putc

verdict:                        ; ZF: it is as it should be
        pushf
.pad:   mov     al, ' '
        call    putc
        cmp     word [column], 66
        jb      .pad
        popf
        jnz     .bad
        say     "ok"
        jmp     newline
.bad:   inc     word [failed]
        say     "FAILED"
        jmp     newline

; ---------------------------------------------------------------- the self-test
self_test:
        call    newline
        say     "devmodel demo guest: 64 KiB of 16-bit code, five chips, no BIOS"
        call    newline
        call    test_pic
        call    test_pit
        call    test_uart
        call    test_ide
        call    test_vga
        call    newline
        cmp     word [failed], 0
        jne     .bad
        say     "self-test passed"
        jmp     .next
.bad:   say     "self-test FAILED: "
        movzx   eax, word [failed]
        call    decimal
.next:  say     " at "
        call    show_time
        call    newline
        mov     si, wanted
        call    find_file
        jc      .end
        inc     word [selftest]
.end:   ret
wanted  db      "opt/devmodel/self-test", 0

test_pic:
        say     "  8259A  masks "
        in      al, PIC1 + 1
        mov     bl, al
        call    hex8
        in      al, PIC2 + 1
        mov     bh, al
        call    hex8
        say     ", edge/level "
        mov     dx, 0x4D1
        in      al, dx
        call    hex8
        dec     dx
        in      al, dx
        call    hex8
        say     ", vectors from "
        mov     al, VECTORS
        call    hex8
        cmp     bx, 0xBFEA
        jmp     verdict

test_pit:                       ; 25 ticks must move the count and take a quarter of a second
        say     "  8254   "
        mov     ebx, [ticks]
        add     ebx, 25
.wait:  hlt
        cmp     [ticks], ebx
        jb      .wait
        mov     al, 0xE2        ; read back status of counter 0
        out     PIT + 3, al
        in      al, PIT
        and     al, 0x3F
        mov     dl, al
        mov     eax, HZ
        call    decimal
        say     " Hz in mode 2, 25 ticks through IRQ 0"
        cmp     dl, 0x34
        jmp     verdict

test_uart:                      ; a byte through loopback is left in the FIFO, and comes in by interrupt
        say     "  16550A "
        call    drain
        cli
        mov     dx, UART + 4
        mov     al, 0x1B
        out     dx, al
        mov     dx, UART + 5
.early: in      al, dx          ; the line is cut off now; what was typed before is for the monitor
        test    al, 1
        jz      .send
        mov     dx, UART
        in      al, dx
        call    received
        mov     dx, UART + 5
        jmp     .early
.send:  mov     dx, UART
        mov     al, LOOPED
        out     dx, al
        mov     dx, UART + 5
        mov     cx, 0xFFFF
.loop:  in      al, dx
        test    al, 1
        loopz   .loop
        mov     dx, UART + 4
        mov     al, 0x0B
        out     dx, al
        sti
        mov     ebx, [ticks]
        add     ebx, 10
.wait:  cmp     word [looped], 0
        jne     .came
        hlt
        cmp     [ticks], ebx
        jb      .wait
.came:  movzx   eax, word [txirqs]
        call    decimal
        say     " sends and a looped byte received by IRQ 4"
        cmp     word [looped], 1
        jmp     verdict

test_ide:
        say     "  IDE    "
        call    identify
        jnc     .disk
        say     "no disk"
        xor     ax, ax
        jmp     verdict
.disk:  mov     si, name
        call    puts_ram
        say     ", "
        mov     eax, [sectors]
        call    decimal
        say     " sectors"
        mov     eax, [sectors]  ; the last sector: read, change, write, read again, put back
        dec     eax
        mov     di, sector
        call    read_sector
        jc      .bad
        mov     si, sector
        mov     di, copy
        mov     cx, 256
.flip:  lodsw
        not     ax
        stosw
        loop    .flip
        mov     si, copy
        call    .there_and_back
        jc      .bad
        mov     si, sector
        call    .there_and_back
        jc      .bad
        say     ", "
        movzx   eax, word [ides]
        call    decimal
        say     " IRQ 14"
        xor     ax, ax
        jmp     verdict
.bad:   or      al, 1
        jmp     verdict
.there_and_back:                ; write DS:SI to the last sector, read it to 7000h, compare
        mov     eax, [sectors]
        dec     eax
        push    si
        call    write_sector
        mov     di, 0x7000
        mov     eax, [sectors]
        dec     eax
        call    read_sector
        pop     si
        jc      .end
        mov     di, 0x7000
        mov     cx, 256
        repe    cmpsw
        clc
        je      .end
        stc
.end:   ret

test_vga:                       ; bars in all colours, read back
        say     "  VGA    80x25 text at B8000, 16 colours"
        push    es
        mov     ax, 0xB800
        mov     es, ax
        mov     di, 2 * (80 * 1 + 4)
        mov     si, title
        mov     ah, 0x1F
.title: cs lodsb
        test    al, al
        jz      .bars
        stosw
        jmp     .title
.bars:  xor     bx, bx          ; BL colour, BH row
.row:   movzx   di, bh
        imul    di, di, 160
        add     di, 2 * (80 * 4 + 8)
        xor     bl, bl
.cell:  mov     al, 0xDB        ; a full block shows the foreground colour
        mov     ah, bl
        mov     cx, 4
        rep     stosw
        inc     bl
        cmp     bl, 16
        jb      .cell
        inc     bh
        cmp     bh, 6
        jb      .row
        mov     di, 2 * (80 * 12 + 8)
        mov     si, hint
        mov     ah, 0x1E
.hint:  cs lodsb
        test    al, al
        jz      .check
        stosw
        jmp     .hint
.check: mov     di, 2 * (80 * 4 + 8)
        mov     al, [es:di]
        mov     ah, [es:di + 2 * 60 + 1]
        pop     es
        cmp     ax, 0x0FDB
        jmp     verdict
title   db      "devmodel demo guest: PIT, PIC, UART and IDE by interrupt, and this screen", 0
hint    db      "The monitor is on the serial line: type 'help' there.", 0

; ---------------------------------------------------------------- the disk: ATA PIO, primary master
ready:                          ; wait for not busy; CF: it never comes, or there is none
        mov     dx, IDE + 7
        mov     cx, 0xFFFF
.loop:  in      al, dx
        cmp     al, 0xFF
        je      .none
        test    al, 0x80
        jz      .end
        loop    .loop
.none:  stc
        ret
.end:   clc
        ret

await_disk:                     ; until the count of disk interrupts is no longer BX; CF after a second
        mov     ebp, [ticks]
        add     ebp, HZ
.wait:  cmp     bx, [ides]
        jne     .came
        cmp     [ticks], ebp
        jae     .late
        hlt
        jmp     .wait
.came:  mov     dx, IDE + 7
        in      al, dx
        test    al, 0x21        ; ERR, DF
        jnz     .late
        clc
        ret
.late:  stc
        ret

identify:                       ; name, sectors; CF: no disk
        mov     dx, 0x3F6
        xor     al, al
        out     dx, al
        mov     dx, IDE + 6
        mov     al, 0xA0
        out     dx, al
        call    ready
        jc      .end
        test    al, 0x40        ; DRDY
        jz      .none
        mov     bx, [ides]
        mov     al, 0xEC
        out     dx, al
        call    await_disk
        jc      .end
        mov     di, sector
        mov     dx, IDE
        mov     cx, 256
        rep     insw
        mov     eax, [sector + 2 * 60]
        mov     [sectors], eax
        mov     si, sector + 2 * 27
        mov     di, name
        mov     cx, 20
.name:  lodsw
        xchg    al, ah
        stosw
        loop    .name
.trim:  dec     di
        cmp     byte [di], ' '
        je      .trim
        mov     byte [di + 1], 0
        clc
        ret
.none:  stc
.end:   ret

address:                        ; the task file for one sector at LBA EAX
        push    eax
        call    ready
        pop     eax
        jc      .end
        mov     ecx, eax
        mov     dx, IDE + 2
        mov     al, 1
        out     dx, al
        inc     dx
        mov     al, cl
        out     dx, al
        inc     dx
        mov     al, ch
        out     dx, al
        inc     dx
        shr     ecx, 16
        mov     al, cl
        out     dx, al
        inc     dx
        mov     al, ch
        and     al, 0x0F
        or      al, 0xE0
        out     dx, al
        inc     dx
        clc
.end:   ret

read_sector:                    ; LBA EAX to ES:DI; CF: error
        call    address
        jc      .end
        mov     bx, [ides]
        mov     al, 0x20
        out     dx, al
        call    await_disk
        jc      .end
        mov     dx, IDE
        mov     cx, 256
        rep     insw
        clc
.end:   ret

write_sector:                   ; DS:SI to LBA EAX; CF: error
        call    address
        jc      .end
        mov     bx, [ides]
        mov     al, 0x30
        out     dx, al
        call    ready           ; the first block of a write is asked for without an interrupt
        jc      .end
        mov     dx, IDE
        mov     cx, 256
        rep     outsw
        call    await_disk
.end:   ret

puts_ram:                       ; the string DS:SI
        lodsb
        test    al, al
        jz      .end
        call    putc
        jmp     puts_ram
.end:   ret

; ---------------------------------------------------------------- clock, firmware configuration, power
cmos:                           ; register AL of the CMOS
        out     0x70, al
        in      al, 0x71
        ret

show_time:                      ; date and time of day (BCD), when no update is in progress
.busy:  mov     al, 0x0A
        call    cmos
        test    al, 0x80
        jnz     .busy
        mov     al, 0x32
        call    cmos
        call    hex8
        mov     si, .fields
        mov     cx, 6
.next:  cs lodsb
        call    cmos
        call    hex8
        cs lodsb
        test    al, al
        jz      .skip
        call    putc
.skip:  loop    .next
        ret
.fields db      0x09, '-', 0x08, '-', 0x07, ' ', 0x04, ':', 0x02, ':', 0x00, 0

find_file:                      ; fw_cfg file CS:SI; CF: there is none. CX its selector
        mov     dx, 0x510       ; the signature first: is there a fw_cfg at all?
        xor     ax, ax
        out     dx, ax
        inc     dx
        in      al, dx
        cmp     al, 'Q'
        jne     .none
        dec     dx
        mov     ax, 0x19        ; the directory: a count, then 64 bytes a file, numbers big-endian
        out     dx, ax
        inc     dx
        in      al, dx
        in      al, dx
        in      al, dx
        mov     bh, al
        in      al, dx
        mov     bl, al
.file:  sub     bx, 1
        jc      .none
        push    bx
        mov     di, 0x7000
        mov     cx, 64
        rep     insb
        push    si
        mov     di, 0x7000 + 8
.comp:  cs lodsb
        cmp     al, [di]
        jne     .other
        inc     di
        test    al, al
        jnz     .comp
        pop     si
        pop     bx
        mov     cx, [0x7000 + 4]
        xchg    cl, ch
        clc
        ret
.other: pop     si
        pop     bx
        jmp     .file
.none:  stc
        ret

pci_read:                       ; EAX of PCI configuration address EAX
        mov     dx, 0xCF8
        out     dx, eax
        mov     dx, 0xCFC
        in      eax, dx
        ret

find_power:                     ; the PIIX4's power management function: 8086:7113; place its ports at 600h
        mov     ecx, 0x80000000
.next:  mov     eax, ecx
        call    pci_read
        cmp     eax, 0x71138086
        je      .found
        add     ecx, 0x100
        cmp     ecx, 0x80002000
        jb      .next
        ret
.found: lea     eax, [ecx + 0x40]
        mov     dx, 0xCF8
        out     dx, eax
        mov     eax, 0x601
        mov     dx, 0xCFC
        out     dx, eax
        lea     eax, [ecx + 0x80]
        mov     dx, 0xCF8
        out     dx, eax
        mov     dx, 0xCFC
        mov     al, 1           ; PMIOSE: the ports answer
        out     dx, al
        mov     word [pmbase], 0x600
        ret

power_off:                      ; PM1a_CNT: SLP_EN with the PIIX4's type 0, soft off
        mov     dx, [pmbase]
        test    dx, dx
        jz      .none
        add     dx, 4
        mov     ax, 0x2000
        out     dx, ax
        hlt
.none:  ret

; ---------------------------------------------------------------- the monitor
monitor:
        say     { "type 'help'", 10 }
.prompt:
        say     "demo> "
        call    read_line
        cmp     word [linelen], 0
        je      .prompt
        mov     bx, commands
.find:  mov     si, [cs:bx]
        test    si, si
        jz      .unknown
        mov     di, line
        call    matches
        je      .run
        add     bx, 4
        jmp     .find
.run:   call    [cs:bx + 2]
        jmp     .prompt
.unknown:
        say     { "no such command; 'help' lists them", 10 }
        jmp     .prompt

matches:                        ; ZF: the word at DS:DI is the string CS:SI; DI behind it
        cs lodsb
        test    al, al
        jz      .end
        cmp     al, [di]
        jne     .no
        inc     di
        jmp     matches
.end:   cmp     byte [di], ' '
        ja      .no
        cmp     al, al
.no:    ret

read_line:                      ; a line, with backspace, into `line`
        xor     di, di
.next:  call    getc
        cmp     al, 13
        je      .end
        cmp     al, 10
        je      .end
        cmp     al, 8
        je      .back
        cmp     al, 127
        je      .back
        cmp     al, 21          ; Ctrl-U
        je      .kill
        cmp     al, ' '
        jb      .next
        cmp     di, 78
        jae     .next
        mov     [line + di], al
        inc     di
        call    putc
        jmp     .next
.back:  test    di, di
        jz      .next
        call    .erase
        jmp     .next
.kill:  test    di, di
        jz      .next
        call    .erase
        jmp     .kill
.erase: dec     di
        mov     al, 8
        call    putc
        mov     al, ' '
        call    putc
        mov     al, 8
        jmp     putc
.end:   mov     byte [line + di], 0
        mov     [linelen], di
        jmp     newline

number:                         ; the next number on the line at DS:DI: decimal, or hexadecimal after 0x
        xor     eax, eax        ; EAX; CF: none
        xor     ecx, ecx
        xor     si, si          ; digits
        mov     ebx, 10
.skip:  cmp     byte [di], ' '
        jne     .base
        inc     di
        jmp     .skip
.base:  cmp     word [di], '0x'
        jne     .digit
        add     di, 2
        mov     bl, 16
.digit: mov     cl, [di]
        sub     cl, '0'
        cmp     cl, 10
        jb      .add
        add     cl, '0'
        or      cl, 0x20
        sub     cl, 'a' - 10
        cmp     cl, 10
        jb      .end
        cmp     cl, bl
        jae     .end
.add:   mul     ebx
        add     eax, ecx
        inc     di
        inc     si
        jmp     .digit
.end:   cmp     si, 1
        ret

commands:
        dw      .help, do_help, .time, do_time, .ports, do_ports, .disk, do_disk
        dw      .memory, do_memory, .reboot, do_reboot, .off, do_off, 0
.help   db      "help", 0
.time   db      "time", 0
.ports  db      "ports", 0
.disk   db      "disk", 0
.memory db      "memory", 0
.reboot db      "reboot", 0
.off    db      "off", 0

do_help:
        mov     si, .text
        jmp     puts
.text   db      "help            this list", 10
        db      "time            the date, and how long this guest has run", 10
        db      "ports           what the chips' registers read", 10
        db      "disk [N]        the disk; sector N of it", 10
        db      "memory [ADDR]   how much there is; 128 bytes at ADDR (below 1 MiB)", 10
        db      "reboot          pulse the reset line of the keyboard controller", 10
        db      "off             ACPI soft off", 10, 0

do_time:
        call    show_time
        say     ", up "
        mov     eax, [ticks]
        xor     edx, edx
        mov     ebx, HZ
        div     ebx
        call    decimal
        mov     al, '.'
        call    putc
        mov     al, dl
        call    two
        say     " s, "
        mov     eax, [ticks]
        call    decimal
        say     " ticks"
        jmp     newline

do_ports:
        mov     si, .table
.next:  cs lodsw
        test    ax, ax
        jz      .rest
        mov     dx, ax
        call    puts            ; leaves SI behind the name
        mov     ax, dx
        call    hex16
        mov     al, ' '
        call    putc
        cs lodsb
        movzx   cx, al
.read:  mov     al, ' '
        call    putc
        in      al, dx
        call    hex8
        inc     dx
        loop    .read
        call    newline
        jmp     .next
.rest:  say     "  interrupts: timer "
        mov     eax, [ticks]
        call    decimal
        say     ", serial in "
        movzx   eax, word [rxirqs]
        call    decimal
        say     ", serial out "
        movzx   eax, word [txirqs]
        call    decimal
        say     ", disk "
        movzx   eax, word [ides]
        call    decimal
        say     ", spurious "
        movzx   eax, word [spurious]
        call    decimal
        jmp     newline
.table  dw      0x21
        db      "  8259A master mask  ", 0, 1
        dw      0xA1
        db      "  8259A slave mask   ", 0, 1
        dw      0x4D0
        db      "  edge/level control ", 0, 2
        dw      0x40
        db      "  8254 counters      ", 0, 3
        dw      0x3F9
        db      "  16550A IER to SCR  ", 0, 7
        dw      0x1F1
        db      "  ATA task file      ", 0, 7
        dw      0x3DA
        db      "  VGA input status 1 ", 0, 1
        dw      0

do_disk:
        cmp     dword [sectors], 0
        jne     .there
        say     { "there is no disk", 10 }
        ret
.there: call    number
        jnc     .dump
        mov     si, name
        call    puts_ram
        say     ", "
        mov     eax, [sectors]
        call    decimal
        say     " sectors of 512 bytes"
        jmp     newline
.dump:  cmp     eax, [sectors]
        jae     .beyond
        mov     di, sector
        call    read_sector
        jc      .error
        mov     si, sector
        xor     ebx, ebx
        mov     cx, 512 / 16
        jmp     dump
.beyond:
        say     { "the disk ends before that sector", 10 }
        ret
.error: say     { "the disk reports an error", 10 }
        ret

dump:                           ; CX lines of 16 bytes from DS:SI; EBX is what to call the first address
        push    cx
        mov     eax, ebx
        call    hex32
        mov     al, ' '
        call    putc
        mov     cx, 16
        push    si
.hex:   mov     al, ' '
        call    putc
        lodsb
        call    hex8
        loop    .hex
        pop     si
        mov     al, ' '
        call    putc
        call    putc
        mov     cx, 16
.text:  lodsb
        cmp     al, ' '
        jb      .dot
        cmp     al, 126
        jbe     .char
.dot:   mov     al, '.'
.char:  call    putc
        loop    .text
        call    newline
        add     ebx, 16
        pop     cx
        loop    dump
        ret

do_memory:
        call    number
        jnc     .dump
        say     "640 KiB below 1 MiB, "
        mov     al, 0x35        ; CMOS 34h: memory above 16 MiB in units of 64 KiB
        call    cmos
        mov     bh, al
        mov     al, 0x34
        call    cmos
        mov     bl, al
        movzx   eax, bx
        shl     eax, 6
        add     eax, 15 * 1024
        test    bx, bx
        jnz     .kib
        mov     al, 0x31        ; 30h: memory above 1 MiB in KiB, if it ends before 16 MiB
        call    cmos
        mov     bh, al
        mov     al, 0x30
        call    cmos
        mov     bl, al
        movzx   eax, bx
.kib:   call    decimal
        say     " KiB above"
        jmp     newline
.dump:  cmp     eax, 0x100000 - 128
        ja      .beyond
        mov     ebx, eax
        mov     si, ax
        and     si, 15
        shr     eax, 4
        push    ds
        push    es
        mov     dx, ax          ; copy, so that `dump` and the variables keep DS
        mov     ds, dx
        mov     di, sector
        mov     cx, 64
        rep     movsw
        pop     es
        pop     ds
        mov     si, sector
        mov     cx, 8
        jmp     dump
.beyond:
        say     { "below 1 MiB, please", 10 }
        ret

do_reboot:
        say     { "resetting", 10 }
        call    drain
        mov     al, 0xFE
        out     0x64, al
.wait:  hlt
        jmp     .wait

do_off: cmp     word [pmbase], 0
        je      .none
        say     { "bye", 10 }
        call    drain
        jmp     power_off
.none:  say     { "no ACPI power management here", 10 }
        ret

; ---------------------------------------------------------------- VGA mode 3, register by register
sequencer:
        db      0x03, 0x00, 0x03, 0x00, 0x02
crtc:   db      0x5F, 0x4F, 0x50, 0x82, 0x55, 0x81, 0xBF, 0x1F, 0x00, 0x4F, 0x0D, 0x0E, 0x00, 0x00, 0x00, 0x00
        db      0x9C, 0x8E, 0x8F, 0x28, 0x1F, 0x96, 0xB9, 0xA3, 0xFF
graphics:
        db      0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0E, 0x00, 0xFF
attribute:
        db      0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3A, 0x3B, 0x3C, 0x3D, 0x3E, 0x3F
        db      0x0C, 0x00, 0x0F, 0x08, 0x00

; ---------------------------------------------------------------- the reset vector
        times 0xFFF0 - ($ - $$) db 0xFF
        jmp     0xF000:start
        db      "demo"
        times 0x10000 - ($ - $$) db 0xFF
