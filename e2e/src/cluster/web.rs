//! Plain HTTP, enough for reports and objects.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(5);

/// Sends a request without a body; status and body of the answer, or `None` where nobody answers.
pub fn request(address: SocketAddr, method: &str, path: &str) -> Option<(u16, String)> {
    let answer = answer(address, method, path)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// The bytes of an answer, head and all.
pub fn answer(address: SocketAddr, method: &str, path: &str) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT).ok()?;
    stream.set_read_timeout(Some(LIMIT)).ok()?;
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some(answer)
}

/// The body of a page; `None` where it is not there.
pub fn get(address: SocketAddr, path: &str) -> Option<String> {
    request(address, "GET", path).filter(|(status, _)| *status == 200).map(|(_, body)| body)
}
