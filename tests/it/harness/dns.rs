//! A DNS server of the test's own (RFC 1035): it knows what it was told, and nothing else exists.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

const A: u16 = 1;
const TXT: u16 = 16;

type Records = Arc<Mutex<HashMap<String, Vec<(u16, Vec<u8>)>>>>;

pub struct Dns {
    pub address: SocketAddr,
    records: Records,
}

impl Dns {
    pub fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = socket.local_addr().expect("its address");
        let records = Records::default();
        let known = Arc::clone(&records);
        std::thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut question) {
                if let Some(answer) = answer(&question[..length], &known) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Self { address, records }
    }

    pub fn text(&self, name: &str, text: &str) {
        // Two strings of one record are one text.
        let (a, b) = text.as_bytes().split_at(text.len() / 2);
        let data = [&[a.len() as u8], a, &[b.len() as u8], b].concat();
        self.add(name, TXT, data);
    }

    pub fn host(&self, name: &str, address: Ipv4Addr) {
        self.add(name, A, address.octets().to_vec());
    }

    pub fn forget(&self, name: &str) {
        self.records.lock().expect("unpoisoned").remove(name);
    }

    fn add(&self, name: &str, kind: u16, data: Vec<u8>) {
        self.records.lock().expect("unpoisoned").entry(name.to_owned()).or_default().push((kind, data));
    }
}

fn answer(question: &[u8], records: &Records) -> Option<Vec<u8>> {
    let (mut labels, mut at) = (Vec::new(), 12);
    loop {
        let length = usize::from(*question.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(question.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes(question.get(at..at + 2)?.try_into().ok()?);
    let known = records.lock().expect("unpoisoned").get(&labels.join(".")).cloned();
    let found: Vec<_> = known.iter().flatten().filter(|(of, _)| *of == kind).collect();
    // An authoritative answer; without such a name, "no such name".
    let code = if known.is_some() { 0x80 } else { 0x83 };
    let mut answer = [&question[..2], &[0x85, code, 0, 1, 0, found.len() as u8, 0, 0, 0, 0]].concat();
    answer.extend_from_slice(question.get(12..at + 4)?);
    for (kind, data) in found {
        // The name of the question, class IN, not to be kept.
        answer.extend_from_slice(&[0xc0, 12]);
        answer.extend_from_slice(&kind.to_be_bytes());
        answer.extend_from_slice(&[0, 1, 0, 0, 0, 0]);
        answer.extend_from_slice(&(data.len() as u16).to_be_bytes());
        answer.extend_from_slice(data);
    }
    Some(answer)
}
