use super::*;

#[test]
fn the_oldest_files_go_when_there_are_too_many() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, age_s) in [("old", 20), ("new", 10)] {
        let path = folder.path().join(name);
        fs::write(&path, [0; 100]).expect("a writable folder");
        let file = File::options().write(true).open(path).expect("our file");
        let then = SystemTime::now() - std::time::Duration::from_secs(age_s);
        file.set_modified(then).expect("our file");
    }
    let names = || fs::read_dir(folder.path()).expect("ours").flatten().count();
    remove_oldest(folder.path(), 200);
    assert_eq!(names(), 2);
    remove_oldest(folder.path(), 199);
    assert_eq!(names(), 1);
    assert!(folder.path().join("new").exists());
}

#[test]
fn a_file_is_replaced_whole_and_a_failed_write_leaves_the_old_one_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("a.json");
    for content in ["old", "new and longer"] {
        write_atomic(&path, content.as_bytes()).expect("a writable folder");
        assert_eq!(fs::read_to_string(&path).expect("the file"), content);
    }
    let failed = replace(&path, |temporary| {
        fs::write(temporary, "half")?;
        Err(io::Error::from(io::ErrorKind::StorageFull))
    });
    assert_eq!(failed.expect_err("it is ours").kind(), io::ErrorKind::StorageFull);
    assert_eq!(fs::read_to_string(&path).expect("the file"), "new and longer");
    assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 1);
}

#[test]
fn nothing_is_written_into_what_somebody_has_put_under_a_temporary_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    fs::write(path("ours"), "precious").expect("a writable folder");
    std::os::unix::fs::symlink(path("ours"), path("a.json.part")).expect("a writable folder");
    write_atomic(&path("a.json"), b"{}").expect("a link is no obstacle");
    let mode = Mode::RUSR | Mode::WUSR;
    rustix::fs::mknodat(CWD, path("b.json.part"), rustix::fs::FileType::Fifo, mode, 0)
        .expect("a writable folder");
    put(&path("b.json"), b"[]").expect("nobody is waited for");
    assert_eq!(fs::read_to_string(path("ours")).expect("the file"), "precious");
    assert_eq!(fs::read_to_string(path("a.json")).expect("the file"), "{}");
    assert_eq!(fs::read_to_string(path("b.json")).expect("the file"), "[]");
}

/// case E
#[test]
fn no_more_is_read_than_is_wanted_and_one_byte_tells_that_there_is_more() {
    assert_eq!(read_start(io::repeat(7), 3).expect("endless"), [7; 4]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("a");
    fs::write(&path, "1234").expect("a writable folder");
    assert_eq!(read_whole(&path, 4).expect("it fits"), b"1234");
    let error = read_whole(&path, 3).expect_err("too long");
    assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
}

#[test]
fn what_is_no_file_is_not_read_and_not_waited_for() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("a");
    fs::write(&path, "1234").expect("a writable folder");
    assert_eq!(read_plain(&path, 9).expect("a file"), b"1234");
    assert_eq!(read_plain(&path, 2).expect("a file"), b"123", "a byte more tells of more");
    let pipe = folder.path().join("pipe");
    rustix::fs::mknodat(CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR, 0).expect("a pipe");
    for path in [&pipe, Path::new("/dev/zero"), folder.path()] {
        for error in [read_plain(path, 9), read_whole(path, 9)].map(Result::unwrap_err) {
            assert!(error.to_string().ends_with(", not a file"), "{path:?}: {error}");
        }
    }
    let made_up = read_plain(Path::new("/proc/self/environ"), 9).expect("it opens");
    assert_eq!(made_up, b"");
}

#[test]
fn names_that_are_taken_get_numbers_and_other_errors_end_the_search() {
    let mut tried = Vec::new();
    let taken = |name: &str| matches!(name, "dir.d/fox.png" | "dir.d/fox-2.png");
    let free = first_free(|number| {
        tried.push(numbered("dir.d/fox.png", number));
        match tried.last() {
            Some(name) if taken(name) => Err(io::ErrorKind::AlreadyExists.into()),
            _ => Ok(number),
        }
    });
    assert_eq!(free.expect("the third is free"), Some(3));
    assert_eq!(tried, ["dir.d/fox.png", "dir.d/fox-2.png", "dir.d/fox-3.png"]);
    assert_eq!(numbered("fox", Some(2)), "fox-2");
    let full = first_free::<()>(|_| Err(io::ErrorKind::StorageFull.into()));
    assert_eq!(full.expect_err("no room").kind(), io::ErrorKind::StorageFull);
    let all = first_free::<()>(|_| Err(io::ErrorKind::AlreadyExists.into()));
    assert_eq!(all.expect_err("bounded").kind(), io::ErrorKind::AlreadyExists);
}

#[test]
fn the_least_free_number_is_found_in_one_look() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let free = || free_number(folder.path(), "fox.png").expect("a folder");
    assert_eq!(free(), 2);
    for name in ["fox.png", "fox-2.png", "fox-3.png", "fox-5.png", "fox-4.jpg", "fox-x.png"] {
        fs::write(folder.path().join(name), "").expect("a writable folder");
    }
    assert_eq!(free(), 4);
}

/// From here on this thread's filesystems know no exclusive rename, as NFS and 9p do not.
fn without_exclusive_rename() {
    let load = |offset| libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: offset };
    let jump_unless =
        |value, skipped| libc::sock_filter { code: 0x15, jt: 0, jf: skipped, k: value };
    let answer = |verdict| libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: verdict };
    let mut program = [
        load(0), // the system call's number
        jump_unless(libc::SYS_renameat2 as u32, 1),
        answer(libc::SECCOMP_RET_ERRNO | libc::EINVAL as u32),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the filter and its program live through the call, which copies them.
    let set = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter)
    };
    assert_eq!(set, 0, "{}", io::Error::last_os_error());
}

fn moves_and_replaces_nothing() {
    let path = tempfile::tempdir().expect("a temporary folder");
    let folder = open_folder(path.path()).expect("the folder");
    let write = |name: &str| fs::write(path.path().join(name), name).expect("a writable folder");
    let read = |name: &str| fs::read_to_string(path.path().join(name)).ok();
    write("new");
    rename_new(&folder, "new".as_ref(), &folder, "final".as_ref()).expect("the name is free");
    assert_eq!((read("new"), read("final").as_deref()), (None, Some("new")));
    write("second");
    let error = rename_new(&folder, "second".as_ref(), &folder, "final".as_ref())
        .expect_err("the name is taken");
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(
        (read("second").as_deref(), read("final").as_deref()),
        (Some("second"), Some("new"))
    );
}

#[test]
fn a_move_replaces_nothing() {
    moves_and_replaces_nothing();
}

#[test]
fn a_move_replaces_nothing_where_the_filesystem_knows_no_exclusive_rename() {
    // The filter holds for its thread only.
    let thread = std::thread::spawn(|| {
        without_exclusive_rename();
        moves_and_replaces_nothing();
    });
    thread.join().expect("no panic");
}
