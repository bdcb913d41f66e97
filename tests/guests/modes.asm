; A boot sector that goes through a table of video modes: it sets one, draws in it, says so on the serial line, and
; waits for a return from there. Modes of the VESA BIOS are drawn in their linear frame buffer, graphics modes of IBM's
; by INT 10h AH=0Ch, text modes by AH=09h.
        bits 16
        org 0x7c00

        xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov sp, 0x7c00
        cld
        mov si, modes
next:   lodsw
        push si
        push ds
        pop es
        mov bp, ax
        cmp ax, -1
        je over
        cmp ax, 0x100
        jae vesa
        int 0x10
        cmp bp, 4
        jb text
        cmp bp, 7
        je text

        xor dx, dx              ; 32 by 16 dots, of the colour that is column xor line
line:   xor cx, cx
dot:    mov al, cl
        xor al, dl
        mov ah, 0x0c
        mov bh, 0
        int 0x10
        inc cx
        cmp cx, 32
        jb dot
        inc dx
        cmp dx, 16
        jb line
        jmp drawn

text:   mov ax, 0x1003          ; attribute bit 7 is intensity
        xor bx, bx
        int 0x10
        mov ah, 1               ; no cursor
        mov cx, 0x2000
        int 0x10
        mov di, 200             ; characters 33 and on, each in an attribute of its own
        mov al, 33
cell:   push ax
        mov ah, 9
        mov bl, al
        mov bh, 0
        mov cx, 1
        int 0x10
        mov ah, 3
        int 0x10
        inc dl
        cmp dl, 40
        jb place
        mov dl, 0
        inc dh
place:  mov ah, 2
        int 0x10
        pop ax
        inc al
        dec di
        jnz cell
        jmp drawn

vesa:   mov ax, 0x4f01
        mov cx, bp
        mov di, 0x8000
        int 0x10
        mov ax, 0x4f02
        mov bx, bp
        or bh, 0x40
        int 0x10
        cmp ax, 0x4f
        jne over
        cli                     ; ES with a limit of 4 GiB
        lgdt [gdtr]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        mov bx, 8
        mov es, bx
        and al, 0xfe
        mov cr0, eax
        mov edi, [0x8028]       ; where the frame buffer is
        mov ecx, 16384
        xor eax, eax
fill:   mov [es:edi], eax
        add edi, 4
        add eax, 0x010203
        dec ecx
        jnz fill

drawn:  mov al, [letter]        ; A behind the first mode, B behind the second
        inc byte [letter]
        call say
wait_:  mov dx, 0x3fd
        in al, dx
        cmp al, 0xff            ; a server that is gone reads as ones, and the next one has its last byte still
        je wait_
        test al, 1
        jz wait_
        mov dx, 0x3f8
        in al, dx
        cmp al, 13
        jne wait_
        pop si
        jmp next

over:   mov al, '!'
        call say
stop:   pause
        jmp stop

say:    mov dx, 0x3f8
        out dx, al
        ret

letter: db 'A'
        align 8
gdt:    dq 0
        dq 0x00cf93000000ffff
gdtr:   dw 15
        dd gdt
modes:  dw 0x00, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0d, 0x0e, 0x0f, 0x10, 0x11, 0x12, 0x13
        dw 0x101, 0x103, 0x110, 0x111, 0x112, 0x115, 0x118, 0x03, 0x07, -1
        times 510 - ($ - $$) db 0
        dw 0xaa55
