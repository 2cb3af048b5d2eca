//! What the kernel of this machine says about a container that was killed. The engine misses an out-of-memory kill when
//! the container is gone before its own watch of it: the kernel's log names the container for certain. Where that log
//! cannot be read (another machine, no right to it), the engine's word stands.

use std::fs::File;
use std::io::{ErrorKind, Read};

use rustix::fs::{Mode, OFlags};

const LOG: &str = "/dev/kmsg";
/// The longest record (`PRINTKRB_RECORD_MAX` and its head).
const RECORD: usize = 8 << 10;
/// More than any ring holds: a log that grows while it is read does not hold up anybody.
const MOST_RECORDS: usize = 200_000;

/// Blocks for the time of reading the log, some milliseconds.
pub(super) fn ran_out_of_memory(container: &str) -> bool {
    let opened = rustix::fs::open(LOG, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
    let Ok(log) = opened else { return false };
    let mut log = File::from(log);
    let mut record = vec![0; RECORD];
    for _ in 0..MOST_RECORDS {
        match log.read(&mut record) {
            Ok(0) => return false,
            Ok(length) if tells(&record[..length], container) => return true,
            Ok(_) => {}
            // Overwritten before it was read: the next read goes on behind it.
            Err(e) if e.kind() == ErrorKind::BrokenPipe || e.kind() == ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
    false
}

/// `…;oom-kill:constraint=CONSTRAINT_MEMCG,…,oom_memcg=/docker/<id>,…`
fn tells(record: &[u8], container: &str) -> bool {
    let text = String::from_utf8_lossy(record);
    text.split_once(";oom-kill:").is_some_and(|(_, told)| {
        let memcg = told.split(',').find_map(|part| part.strip_prefix("oom_memcg="));
        memcg.is_some_and(|memcg| memcg.contains(container))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_kill_in_the_containers_own_group_counts() {
        let id = "2bf551d73f5f091a3c6cf723aacf319a7d8627c5ef82ba6fb5c453a45d4fd83b";
        let kill = |memcg: &str| {
            format!(
                "4,1482,14784395774,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset={id},mems_allowed=0,\
                 oom_memcg={memcg},task_memcg=/docker/{id},task=MainThread,pid=13297,uid=1000"
            )
        };
        assert!(tells(kill(&format!("/docker/{id}")).as_bytes(), id));
        assert!(tells(kill(&format!("/system.slice/docker-{id}.scope")).as_bytes(), id));
        assert!(!tells(kill("/docker/another").as_bytes(), id));
        assert!(!tells(format!("6,1,2,-;eth0: oom_memcg={id}").as_bytes(), id));
    }
}
