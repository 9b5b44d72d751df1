//! What a node offers where nobody says otherwise: this machine's cores, memory and GPUs.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::Env;
use super::files::Files;

/// What a machine is taken to be where nobody says otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    /// Bytes of memory that are available.
    pub(crate) memory: u64,
    /// GPUs that a program may use.
    pub(crate) gpus: usize,
    pub(crate) hostname: String,
}

#[allow(clippy::disallowed_methods)] // this is the door
pub(super) fn of(env: &Env) -> Machine {
    let files = env.files();
    let text = files.read_text(Path::new("/proc/meminfo")).unwrap_or_default();
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    let hostname = files
        .read_text(Path::new("/proc/sys/kernel/hostname"))
        .map_or_else(|_| "localhost".to_owned(), |name| name.trim().to_owned());
    Machine {
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        // 1 GiB if the system does not say.
        memory: kib.map_or(1 << 30, |kib| kib * 1024),
        gpus: visible_gpus(gpus(files), env.var_as_set("CUDA_VISIBLE_DEVICES").as_deref().and_then(OsStr::to_str)),
        hostname,
    }
}

/// The GPUs of this machine, as NVIDIA's driver shows them; in a container those whose devices it was given.
fn gpus(files: Files) -> usize {
    let numbered = |path: &PathBuf| {
        let name = path.file_name().and_then(OsStr::to_str).and_then(|name| name.strip_prefix("nvidia"));
        name.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let devices = files.list(Path::new("/dev")).map_or(0, |all| all.iter().filter(|path| numbered(path)).count());
    let driver = files.list(Path::new("/proc/driver/nvidia/gpus")).map_or(0, |all| all.len());
    if devices > 0 { devices } else { driver }
}

/// How many of them `CUDA_VISIBLE_DEVICES` leaves: all if it is not set, those before the first that it does not know.
fn visible_gpus(all: usize, visible: Option<&str>) -> usize {
    let Some(visible) = visible else { return all };
    let known = |name: &&str| match name.trim().parse::<i64>() {
        Ok(index) => usize::try_from(index).is_ok_and(|index| index < all),
        // By uuid.
        Err(_) => name.trim().starts_with("GPU-") || name.trim().starts_with("MIG-"),
    };
    visible.split(',').take_while(known).count().min(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_visible_devices_are_those_that_cuda_would_see() {
        assert_eq!(visible_gpus(8, None), 8);
        assert_eq!(visible_gpus(8, Some("")), 0);
        assert_eq!(visible_gpus(8, Some("0,3")), 2);
        assert_eq!(visible_gpus(2, Some("1, 7,0")), 1);
        assert_eq!(visible_gpus(2, Some("-1")), 0);
        assert_eq!(visible_gpus(2, Some("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6")), 1);
        assert_eq!(visible_gpus(0, Some("0")), 0);
    }
}
