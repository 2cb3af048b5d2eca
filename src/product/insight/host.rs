//! The machine this runs on, by what its kernel tells in `/proc`.

use std::path::Path;

/// Counters since the machine's start, and what is in use now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct HostReading {
    /// Ticks of all processors together: those not idle, and all.
    pub(super) busy: u64,
    pub(super) ticks: u64,
    pub(super) processors: u64,
    pub(super) memory_bytes: u64,
    pub(super) memory_total: u64,
    pub(super) disk_bytes: u64,
    pub(super) disk_total: u64,
}

/// Blocks for some microseconds. `dir` names the file system.
pub(super) fn read(dir: &Path) -> Option<HostReading> {
    let mut reading = HostReading::default();
    processors(&std::fs::read_to_string("/proc/stat").ok()?, &mut reading)?;
    memory(&std::fs::read_to_string("/proc/meminfo").ok()?, &mut reading)?;
    let disk = rustix::fs::statvfs(dir).ok()?;
    reading.disk_total = disk.f_blocks * disk.f_frsize;
    reading.disk_bytes = disk.f_blocks.saturating_sub(disk.f_bfree) * disk.f_frsize;
    Some(reading)
}

/// proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal; guests are in user already.
fn processors(stat: &str, reading: &mut HostReading) -> Option<()> {
    let all = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = all.split_whitespace().take(8).filter_map(|n| n.parse().ok()).collect();
    reading.ticks = ticks.iter().sum();
    reading.busy = reading.ticks - ticks.get(3)? - ticks.get(4)?;
    let one = |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    reading.processors = stat.lines().filter(one).count() as u64;
    Some(())
}

fn memory(info: &str, reading: &mut HostReading) -> Option<()> {
    let of = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
    };
    reading.memory_total = of("MemTotal")?;
    reading.memory_bytes = reading.memory_total.saturating_sub(of("MemAvailable")?);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let mut reading = HostReading::default();
        let stat = "cpu  10 1 5 80 4 0 1 0 3 0\ncpu0 5 0 2 40 2 0 1 0 0 0\ncpu1 5 1 3 40 2 0 0 0 0 0\nintr 5\n";
        processors(stat, &mut reading).expect("ticks");
        memory("MemTotal:  100 kB\nMemFree: 1 kB\nMemAvailable:   60 kB\n", &mut reading).expect("memory");
        assert_eq!((reading.busy, reading.ticks, reading.processors), (17, 101, 2));
        assert_eq!((reading.memory_bytes, reading.memory_total), (40 << 10, 100 << 10));
        assert!(read(Path::new("/")).is_some_and(|now| now.disk_total > now.disk_bytes && now.ticks > 0));
    }
}
