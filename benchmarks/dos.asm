; What a program for DOS does, TURNS times, in real mode: 64 KiB of firmware that devmodel and QEMU both start.
; A turn sifts primes, writes one of them in decimal, copies text in capitals from segment to segment, and asks a
; "system" by INT, which is a far call and an IRET. It ends by the debug-exit port, with 10h if all turns agreed.
; Assembled when it is wanted: nasm -f bin -DTURNS=1000 -o dos.bin dos.asm

        bits 16
        org 0

DATA    equ 1000h               ; segments
OTHER   equ 2000h
SIEVE   equ 0                   ; in DATA: a byte a number
LIMIT   equ 1000
DIGITS  equ 600h                ; in OTHER

start:  cli
        cld
        xor ax, ax
        mov ss, ax
        mov sp, 7C00h
        mov ds, ax
        mov word [21h * 4], system
        mov [21h * 4 + 2], cs
        mov edi, TURNS
turn:   push edi
        call sift
        call copy
        pop edi
        cmp ax, [cs:expected]
        jne wrong
        dec edi
        jnz turn
        mov al, 10h
        out 0F4h, al
wrong:  hlt
        jmp wrong

; How many primes there are below LIMIT to BX, the last of them to DX.
sift:   mov ax, DATA
        mov ds, ax
        mov es, ax
        mov di, SIEVE
        mov cx, LIMIT / 2
        mov ax, 0101h
        rep stosw
        xor bx, bx
        mov si, 2
.next:  cmp byte [SIEVE + si], 0
        je .not
        inc bx
        mov dx, si
        mov di, si
        add di, si
        jc .not
.strike: cmp di, LIMIT
        jae .not
        mov byte [SIEVE + di], 0
        add di, si
        jmp .strike
.not:   inc si
        cmp si, LIMIT
        jb .next
        ret

; The number in DX in decimal, and a text in capitals behind it, to OTHER; the sum of its bytes to AX.
copy:   mov ax, OTHER
        mov es, ax
        mov di, DIGITS
        mov ax, dx
        mov cx, 10
        xor bp, bp
.digit: xor dx, dx
        div cx
        push dx
        inc bp
        test ax, ax
        jnz .digit
.said:  pop ax
        add al, '0'
        stosb
        dec bp
        jnz .said
        push cs
        pop ds
        mov si, text
.letter: lodsb
        call capital
        stosb
        test al, al
        jnz .letter
        mov cx, di
        sub cx, DIGITS
        push es
        pop ds
        mov si, DIGITS
        xor dx, dx
        xor ah, ah
.sum:   lodsb
        add dx, ax
        loop .sum
        mov ah, 2
        int 21h
        ret

capital: cmp al, 'a'
        jb .done
        cmp al, 'z'
        ja .done
        sub al, 20h
.done:  ret

; INT 21h: with AH = 2, DX to AX.
system: push bp
        mov bp, sp
        cmp ah, 2
        jne .done
        mov ax, dx
.done:  pop bp
        iret

text    db 'the quick brown fox jumps over the lazy dog, as in any program that moves text about', 0
%assign SUM 0
%macro letters 1
  %strlen LENGTH %1
  %assign I 1
  %rep LENGTH
    %substr ONE %1 I
    %if ONE >= 'a' && ONE <= 'z'
      %assign SUM SUM + ONE - 20h
    %else
      %assign SUM SUM + ONE
    %endif
    %assign I I + 1
  %endrep
%endmacro
        letters 'the quick brown fox jumps over the lazy dog, as in any program that moves text about'
        letters '997'
expected dw SUM

        times 0FFF0h - ($ - $$) db 0F4h
        jmp 0F000h:start
        times 10000h - ($ - $$) db 0
