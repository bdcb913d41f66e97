; A boot sector that prints LINES lines by INT 10h AH=0Eh; on the serial line it says when it begins and when it ends.
        bits 16
        org 0x7c00

        xor ax, ax
        mov ds, ax
        mov ss, ax
        mov sp, 0x7c00
        cld
        mov al, 'b'
        call say
        mov cx, LINES
line:   push cx
        mov si, text
next:   lodsb
        test al, al
        jz ended
        mov ah, 0x0e
        mov bx, 7
        int 0x10
        jmp next
ended:  pop cx
        loop line
        mov al, 'e'
        call say
stop:   pause
        jmp stop

say:    mov dx, 0x3f8
        out dx, al
        ret

text:   db "The quick brown fox jumps over the lazy dog", 13, 10, 0
        times 510 - ($ - $$) db 0
        dw 0xaa55
