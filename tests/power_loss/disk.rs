//! A disk that can lose its power, for programs under `shim.c`.
//!
//! The shim keeps what was synced beside what was written. [`Disk::cut`] makes of
//! both what a power cut may leave: every synced byte under every synced name, and
//! of the rest a random part. What a program wrote and did not sync may have reached
//! the disk in any order and torn, so chance decides for each sector of 512 bytes,
//! for each file's length, and for each name that was made, moved or removed. Only
//! the last bytes written to a sector can survive beside the synced ones, not those
//! in between.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// Marks a folder in the shadow whose own name was not synced.
const UNSYNCED: &str = ".unsynced";

/// What can be wrong with a disk, from [`Disk::begin`] to [`Disk::end`].
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// No space: what adds to a file fails.
    Full,
    /// The next sync fails, once, and what it should have written is lost.
    FailSync,
    /// Syncs do nothing: what SQLite's `synchronous=OFF` would mean.
    NoSync,
}

impl Fault {
    fn file(self) -> &'static str {
        match self {
            Fault::Full => "full",
            Fault::FailSync => "fail-sync",
            Fault::NoSync => "no-sync",
        }
    }
}

/// What the cuts took, so that a run can be seen to have tested something.
#[derive(Debug, Default, Clone, Copy)]
pub struct Damage {
    /// Times the power went.
    pub cuts: u64,
    /// Sectors that were written and not synced, of all cuts.
    pub unsynced: u64,
    /// How many of them were lost.
    pub lost: u64,
    /// Times when a database held unsynced bytes, not only its write-ahead log:
    /// SQLite was folding the one into the other.
    pub checkpoints: u64,
    /// Names that were made or removed, not synced, and lost or back again.
    pub names: u64,
}

/// A disk whose power can be cut.
pub struct Disk {
    root: PathBuf,
    shadow: PathBuf,
    dice: u64,
    damage: Damage,
}

impl Disk {
    /// An empty disk in `folder`; `seed` decides what its cuts leave.
    pub fn new(folder: &Path, seed: u64) -> Self {
        let disk = Disk {
            root: folder.join("disk"),
            shadow: folder.join("shadow"),
            dice: seed | 1,
            damage: Damage::default(),
        };
        fs::create_dir_all(&disk.root).unwrap();
        disk.sync_all();
        disk
    }

    /// Where the program's files are.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Has a program run on this disk.
    pub fn carry(&self, program: &mut Command) {
        program
            .env("LD_PRELOAD", shim())
            .env("POWER_LOSS_DISK", &self.root)
            .env("POWER_LOSS_SHADOW", &self.shadow);
    }

    /// From now on this is wrong with the disk.
    pub fn begin(&self, fault: Fault) {
        fs::write(self.shadow.join(fault.file()), "").unwrap();
    }

    /// From now on the disk is full after so many of a program's writes that add to it.
    pub fn fill_after(&self, writes: u32) {
        fs::write(self.shadow.join(Fault::Full.file()), writes.to_string()).unwrap();
    }

    /// From now on the program is killed at its step `number`, counted from here, of
    /// those that change the disk.
    pub fn kill_at(&self, number: u32) {
        fs::write(self.shadow.join("draft"), number.to_string()).unwrap();
        fs::rename(self.shadow.join("draft"), self.shadow.join("kill-at")).unwrap();
    }

    /// Not any more.
    pub fn spare(&self) {
        fs::remove_file(self.shadow.join("kill-at")).unwrap();
    }

    /// It is mended.
    pub fn end(&self, fault: Fault) {
        fs::remove_file(self.shadow.join(fault.file())).unwrap();
    }

    /// Whether the fault is still there: a failed sync is over by itself.
    pub fn has(&self, fault: Fault) -> bool {
        self.shadow.join(fault.file()).exists()
    }

    /// An empty disk again.
    pub fn wipe(&mut self) {
        fs::remove_dir_all(&self.root).unwrap();
        fs::create_dir(&self.root).unwrap();
        self.sync_all();
    }

    /// What the cuts did so far.
    pub fn damage(&self) -> Damage {
        self.damage
    }

    /// Cuts the power. The processes that worked on the disk were killed before. What is left
    /// is on the disk for good.
    pub fn cut(&mut self) {
        // From nothing unsynced survives to all of it does.
        let kept = [0, 10, 50, 90, 100][self.below(5) as usize];
        self.cut_to(kept);
    }

    /// The power goes, and nothing is left of what was not synced.
    pub fn cut_to_the_synced(&mut self) {
        self.cut_to(0);
    }

    fn cut_to(&mut self, kept: u64) {
        self.damage.cuts += 1;
        let mut left = BTreeMap::new();
        self.cut_folder(Path::new(""), kept, &mut left);
        fs::remove_dir_all(&self.root).unwrap();
        for (name, bytes) in left {
            let path = self.root.join(name);
            match bytes {
                None => fs::create_dir_all(&path).unwrap(),
                Some(bytes) => {
                    fs::write(&path, bytes).unwrap();
                    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
                }
            }
        }
        self.sync_all();
    }

    /// Collects what is left of a folder: a folder as `None`, a file with its bytes.
    fn cut_folder(
        &mut self,
        folder: &Path,
        kept: u64,
        left: &mut BTreeMap<PathBuf, Option<Vec<u8>>>,
    ) {
        let tree = self.shadow.join("tree").join(folder);
        if tree.join(UNSYNCED).exists() && !self.happens(kept) {
            self.damage.names += 1;
            return;
        }
        left.insert(folder.to_owned(), None);
        let mut names = names(&tree);
        names.extend(self::names(&self.root.join(folder)));
        for name in names {
            let path = folder.join(&name);
            if tree.join(&name).is_dir() {
                self.cut_folder(&path, kept, left);
            } else if let Some(bytes) = self.cut_file(&path, kept) {
                left.insert(path, Some(bytes));
            }
        }
    }

    /// What is left under a file's name, if anything.
    fn cut_file(&mut self, path: &Path, kept: u64) -> Option<Vec<u8>> {
        let synced = self.shadow.join("tree").join(path);
        let written = self.root.join(path);
        let ino = |path: &Path| fs::metadata(path).map(|found| found.ino()).ok();
        // Of the file that has the name on the disk, what was synced of it.
        let part = ino(&written).map(|number| self.shadow.join("ino").join(number.to_string()));
        let same = part.as_deref().and_then(ino) == ino(&synced);
        if synced.exists() && same {
            let before = self.damage.unsynced;
            let (synced, written) = (fs::read(synced).unwrap(), fs::read(written).unwrap());
            let database = synced.starts_with(b"SQLite format 3");
            let mixed = self.mix(synced, &written, kept);
            self.damage.checkpoints += u64::from(database && self.damage.unsynced > before);
            return Some(mixed);
        }
        // The name was made, removed, or given to another file.
        if !self.happens(kept) {
            self.damage.names += 1;
            return fs::read(synced).ok();
        }
        let written = fs::read(written).ok()?;
        let synced = part.and_then(|part| fs::read(part).ok());
        Some(self.mix(synced.unwrap_or_default(), &written, kept))
    }

    /// A file of which `synced` was synced and `written` was written.
    fn mix(&mut self, synced: Vec<u8>, written: &[u8], kept: u64) -> Vec<u8> {
        let length = match self.happens(kept) {
            true => written.len(),
            false if written.len() <= synced.len() => synced.len(),
            // A file grows on the disk as its bytes get there.
            false => synced.len() + self.below((written.len() - synced.len()) as u64) as usize,
        };
        let mut mixed = synced;
        // Where a file grew and the bytes did not get there, zeros are read.
        mixed.resize(length.max(written.len()), 0);
        for (old, new) in mixed.chunks_mut(SECTOR).zip(written.chunks(SECTOR)) {
            if !old.starts_with(new) {
                self.damage.unsynced += 1;
                match self.happens(kept) {
                    true => old[..new.len()].copy_from_slice(new),
                    false => self.damage.lost += 1,
                }
            }
        }
        mixed.truncate(length);
        mixed
    }

    /// All that is on the disk counts as synced.
    fn sync_all(&self) {
        for part in ["ino", "tree"] {
            // Not there the first time.
            let _ = fs::remove_dir_all(self.shadow.join(part));
        }
        fs::create_dir_all(self.shadow.join("ino")).unwrap();
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            let tree = self.shadow.join("tree").join(&folder);
            fs::create_dir_all(&tree).unwrap();
            for name in names(&self.root.join(&folder)) {
                let path = self.root.join(&folder).join(&name);
                let found = fs::metadata(&path).unwrap();
                if found.is_dir() {
                    folders.push(folder.join(&name));
                } else {
                    let synced = self.shadow.join("ino").join(found.ino().to_string());
                    fs::copy(&path, &synced).unwrap();
                    fs::hard_link(&synced, tree.join(&name)).unwrap();
                }
            }
        }
    }

    fn happens(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Chance that repeats with its seed (xorshift64, Marsaglia 2003).
    fn below(&mut self, bound: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice % bound.max(1)
    }
}

/// The names in a folder that a cut may leave. SQLite makes its -shm anew.
fn names(folder: &Path) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return BTreeSet::new();
    };
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with("-shm") && name != UNSYNCED)
        .collect()
}

/// The shim, compiled once a run.
fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/power_loss/shim.c");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        // Swept away like the folders of tests.
        let library = folder.join(format!("test-{}-power-loss.so", std::process::id()));
        let compiled = Command::new("cc")
            .args(["-Wall", "-Wextra", "-O2", "-shared", "-fPIC", "-o"])
            .args([&library, &source])
            .args(["-ldl", "-lpthread"])
            .status();
        assert!(compiled.is_ok_and(|status| status.success()), "cc failed");
        library
    })
}
