//! Disks that do one thing in a way of their own, and the rest as the real one does.

/// What a [`Disk`](fastness::disk::Disk) leaves to [`OsDisk`](fastness::disk::OsDisk): everything but `open` and `rename`.
macro_rules! rest_as_os_disk {
    () => {
        fn remove(&self, path: &std::path::Path) -> std::io::Result<()> {
            fastness::disk::OsDisk.remove(path)
        }

        fn create_dir_all(&self, path: &std::path::Path) -> std::io::Result<()> {
            fastness::disk::OsDisk.create_dir_all(path)
        }

        fn list(&self, dir: &std::path::Path) -> std::io::Result<Vec<String>> {
            fastness::disk::OsDisk.list(dir)
        }

        fn list_dirs(&self, dir: &std::path::Path) -> std::io::Result<Vec<String>> {
            fastness::disk::OsDisk.list_dirs(dir)
        }

        fn list_others(&self, dir: &std::path::Path) -> std::io::Result<Vec<String>> {
            fastness::disk::OsDisk.list_others(dir)
        }

        fn sync_dir(&self, dir: &std::path::Path) -> std::io::Result<()> {
            fastness::disk::OsDisk.sync_dir(dir)
        }
    };
}

pub(crate) use rest_as_os_disk;
