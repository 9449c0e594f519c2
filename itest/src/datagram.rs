//! A program that answers datagrams. The test image's busybox has none, but a client for one: `tftp`.

/// What a client gets: `tftp -g -r any -l - HOST PORT` prints it.
pub const ANSWER: &str = "by datagram\n";

/// Where it listens, on every address of both families: TFTP's port.
pub const PORT: u16 = 69;

/// A static ELF program for amd64 that answers every datagram with the first and last block of a file, [`ANSWER`].
pub fn server() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    // Block 1, which is the last one as it is shorter than 512 bytes (RFC 1350).
    let reply = [&[0, 3, 0, 1], ANSWER.as_bytes()].concat();
    let mut code = CODE.to_vec();
    code[REPLY_LENGTH] = u8::try_from(reply.len()).unwrap_or(u8::MAX);
    code.extend_from_slice(&ADDRESS);
    code.extend_from_slice(&reply);
    let size = HEADERS + code.len() as u64;

    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let half = |elf: &mut Vec<u8>, values: &[u16]| elf.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    let word = |elf: &mut Vec<u8>, values: &[u32]| elf.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    let long = |elf: &mut Vec<u8>, values: &[u64]| elf.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    // An executable for amd64; entry point, program headers, no sections; one program header of 56 bytes.
    half(&mut elf, &[2, 62]);
    word(&mut elf, &[1]);
    long(&mut elf, &[BASE + HEADERS, 64, 0]);
    word(&mut elf, &[0]);
    half(&mut elf, &[64, 56, 1, 0, 0, 0]);
    // All of the file in one readable and executable segment.
    word(&mut elf, &[1, 5]);
    long(&mut elf, &[0, BASE, BASE, size, size, 0x1000]);
    elf.extend(code);
    elf
}

/// `struct sockaddr_in6`: any address, port 69.
const ADDRESS: [u8; 28] =
    [10, 0, 0, 69, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Place in [`CODE`] of the reply's length.
const REPLY_LENGTH: usize = 0x60;

/// The address and the reply follow it.
#[rustfmt::skip]
const CODE: [u8; 0x7b] = [
    0xbf, 10, 0, 0, 0,                  // mov edi, AF_INET6
    0xbe, 2, 0, 0, 0,                   // mov esi, SOCK_DGRAM
    0x31, 0xd2,                         // xor edx, edx
    0xb8, 41, 0, 0, 0,                  // mov eax, SYS_socket
    0x0f, 0x05,                         // syscall
    0x89, 0xc3,                         // mov ebx, eax
    0x89, 0xdf,                         // mov edi, ebx
    0x48, 0x8d, 0x35, 0x5d, 0, 0, 0,    // lea rsi, [rip + ADDRESS]
    0xba, 28, 0, 0, 0,                  // mov edx, 28
    0xb8, 49, 0, 0, 0,                  // mov eax, SYS_bind
    0x0f, 0x05,                         // syscall
    0x48, 0x81, 0xec, 0, 4, 0, 0,       // sub rsp, 1024
    0xc7, 0x04, 0x24, 28, 0, 0, 0,      // again: mov dword [rsp], 28
    0x89, 0xdf,                         // mov edi, ebx
    0x48, 0x8d, 0x74, 0x24, 64,         // lea rsi, [rsp + 64]
    0xba, 0, 2, 0, 0,                   // mov edx, 512
    0x45, 0x31, 0xd2,                   // xor r10d, r10d
    0x4c, 0x8d, 0x44, 0x24, 16,         // lea r8, [rsp + 16]
    0x49, 0x89, 0xe1,                   // mov r9, rsp
    0xb8, 45, 0, 0, 0,                  // mov eax, SYS_recvfrom
    0x0f, 0x05,                         // syscall
    0x89, 0xdf,                         // mov edi, ebx
    0x48, 0x8d, 0x35, 0x38, 0, 0, 0,    // lea rsi, [rip + REPLY]
    0xba, 0, 0, 0, 0,                   // mov edx, length of the reply
    0x45, 0x31, 0xd2,                   // xor r10d, r10d
    0x4c, 0x8d, 0x44, 0x24, 16,         // lea r8, [rsp + 16]
    0x41, 0xb9, 28, 0, 0, 0,            // mov r9d, 28
    0xb8, 44, 0, 0, 0,                  // mov eax, SYS_sendto
    0x0f, 0x05,                         // syscall
    0xeb, 0xb6,                         // jmp again
];
