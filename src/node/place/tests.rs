//! Disks in turn, put back, exchanged and shared, on a disk of a test.

use super::*;
use crate::store::Memory;

struct Disks {
    root: tempfile::TempDir,
    store: Arc<dyn Store>,
}

impl Disks {
    fn new() -> Disks {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("data")).unwrap();
        fs::create_dir(root.path().join("away")).unwrap();
        Disks { root, store: Arc::new(Memory::new()) }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn place(&self, same_disk: bool) -> Place {
        let to = BackupTo { file: self.at("away/node.backup"), same_disk };
        Place::new(to, self.at("data"), self.store.clone())
    }

    /// A node of its own, made from a backup with this document.
    fn restore(&mut self, document: &[u8]) {
        let item = Item::Document { name: DOCUMENT.into(), bytes: document.to_vec() };
        let Item::Document { name, bytes } = fork(item).unwrap() else { panic!("a document") };
        self.store = Arc::new(Memory::new());
        self.store.put(&name, &bytes).unwrap();
    }

    /// The mount point without its disk.
    fn unmount(&self) {
        fs::rename(self.at("away"), self.at("disk")).unwrap();
        fs::create_dir(self.at("away")).unwrap();
    }
}

#[test]
fn a_backup_goes_only_where_its_note_lies_and_a_person_can_accept_another_place() {
    let disks = Disks::new();
    let place = disks.place(true);
    assert_eq!(place.enter().unwrap(), None);
    assert_eq!(place.enter().unwrap(), None);
    place.still().unwrap();
    disks.unmount();
    let said = place.enter().unwrap_err().to_string();
    assert!(said.contains("not mounted") && said.contains("touch ") && said.contains("node.backup.place"), "{said}");
    assert!(place.still().unwrap_err().to_string().contains("went while"));
    assert_eq!(fs::read_dir(disks.at("away")).unwrap().count(), 0, "nothing is written without the disk");
    fs::remove_dir(disks.at("away")).unwrap();
    assert!(place.enter().unwrap_err().to_string().contains("there is no folder"));
    // The disk again, and then a new one.
    fs::rename(disks.at("disk"), disks.at("away")).unwrap();
    place.enter().unwrap();
    disks.unmount();
    fs::write(disks.at("away/node.backup.place"), "").unwrap();
    place.enter().unwrap();
    place.still().unwrap();
    fs::write(disks.at("away/node.backup.place"), "junk").unwrap();
    assert!(place.enter().is_err());
}

#[test]
fn of_two_disks_in_turn_the_one_that_is_back_is_known_to_be_behind_until_it_is_written_anew() {
    let disks = Disks::new();
    let place = disks.place(true);
    let write = || place.renew(|| Ok(b"sealed".to_vec())).unwrap();
    assert_eq!(place.look().unwrap(), Found::Newest, "nothing was put there");
    write();
    assert_eq!(place.look().unwrap(), Found::Newest);
    disks.unmount();
    assert_eq!(place.look().unwrap(), Found::Newest, "it is away, and nothing was recorded since");
    // The second disk, accepted and written.
    fs::write(disks.at("away/node.backup.place"), "").unwrap();
    write();
    write();
    assert_eq!(place.look().unwrap(), Found::Newest);
    fs::rename(disks.at("away"), disks.at("second")).unwrap();
    fs::rename(disks.at("disk"), disks.at("away")).unwrap();
    let Found::Behind(said) = place.look().unwrap() else { panic!("it is behind") };
    assert!(said.ends_with("is behind, its disk was away: it is writing 1 of 3"), "{said}");
    write();
    assert_eq!(place.look().unwrap(), Found::Newest);
    // The number is in what is written: who restores it goes on beside it.
    let sealed = disks.store.get(DOCUMENT).unwrap().unwrap();
    place.renew(|| Ok(disks.store.get(DOCUMENT)?.unwrap_or_default())).unwrap();
    let newest = fs::read(disks.at("away/node.backup")).unwrap();
    disks.store.put(DOCUMENT, &newest).unwrap();
    assert_eq!((place.look().unwrap(), place.enter().unwrap()), (Found::Newest, None));
    // A folder put back as it was before does not write over the newer.
    disks.store.put(DOCUMENT, &sealed).unwrap();
    let said = place.renew(|| Ok(b"older".to_vec())).unwrap_err().to_string();
    assert!(said.contains("this data folder is an older copy of the one that wrote it"), "{said}");
    assert_eq!(place.look().unwrap(), Found::Others(said));
    assert_eq!(fs::read(disks.at("away/node.backup")).unwrap(), newest);
}

#[test]
fn a_disk_of_another_line_is_not_written_over_however_low_its_number_and_it_is_said_which_is_which() {
    let mut disks = Disks::new();
    let write = |disks: &Disks| disks.place(true).renew(|| Ok(disks.store.get(DOCUMENT)?.unwrap()));
    write(&disks).unwrap();
    write(&disks).unwrap();
    // The lost node goes on, on a second disk.
    disks.unmount();
    fs::write(disks.at("away/node.backup.place"), "").unwrap();
    write(&disks).unwrap();
    let lost = disks.store.clone();
    fs::rename(disks.at("away"), disks.at("second")).unwrap();
    fs::rename(disks.at("disk"), disks.at("away")).unwrap();
    // What is restored from the first goes on there, past the number of the second.
    let sealed = fs::read(disks.at("away/node.backup")).unwrap();
    disks.restore(&sealed);
    assert_eq!(disks.place(true).look().unwrap(), Found::Newest);
    (0..3).for_each(|_| drop(write(&disks).unwrap()));
    fs::rename(disks.at("away"), disks.at("first")).unwrap();
    fs::rename(disks.at("second"), disks.at("away")).unwrap();
    let others = fs::read(disks.at("away/node.backup")).unwrap();
    let said = write(&disks).unwrap_err().to_string();
    let names = [&lost, &disks.store].map(|store| {
        let remembered: Remembered = serde_json::from_slice(&store.get(DOCUMENT).unwrap().unwrap()).unwrap();
        remembered.line[..SHOWN].to_owned()
    });
    for part in [
        format!("away/node.backup is writing 3 of line {}, of 20", names[0]),
        "the node that this one was restored from wrote it, and had gone on by then".to_owned(),
        format!("This node is at writing 5 of line {1}, and came from writing 2 of line {0}.", names[0], names[1]),
    ] {
        assert!(said.contains(&part), "{part}: {said}");
    }
    assert_eq!(disks.place(true).look().unwrap(), Found::Others(said));
    assert_eq!(fs::read(disks.at("away/node.backup")).unwrap(), others);
    println!("bound other-line 0 bytes written over");
    // Nor does another that is restored from the same, or the lost one itself, write over what the first restored one did.
    fs::rename(disks.at("away"), disks.at("second")).unwrap();
    fs::rename(disks.at("first"), disks.at("away")).unwrap();
    disks.restore(&sealed);
    let another = disks.store.clone();
    for store in [lost, another] {
        disks.store = store;
        let said = write(&disks).unwrap_err().to_string();
        assert!(said.contains("another node that was restored from a backup of the same one wrote it"), "{said}");
    }
}

#[test]
fn what_an_older_program_kept_is_of_the_line_without_a_name_and_goes_on() {
    let mut disks = Disks::new();
    let older = |number| format!(r#"{{"mark":"{}","files":[],"number":{number}}}"#, "ab".repeat(16));
    let note = |number| {
        format!(
            "{FIRST}{}
Leave it here.
{NUMBER}{number}
",
            "ab".repeat(16)
        )
    };
    fs::write(disks.at("away/node.backup.place"), note(7)).unwrap();
    disks.restore(older(6).as_bytes());
    let said = disks.place(true).renew(|| Ok(Vec::new())).unwrap_err().to_string();
    assert!(
        said.contains("is writing 7 of the line without a name") && said.contains("came from writing 6 of"),
        "{said}"
    );
    for restored in [true, false] {
        fs::write(disks.at("away/node.backup.place"), note(6)).unwrap();
        match restored {
            true => disks.restore(older(6).as_bytes()),
            false => disks.store.put(DOCUMENT, older(6).as_bytes()).unwrap(),
        }
        disks.place(true).renew(|| Ok(Vec::new())).unwrap();
        assert!(fs::read_to_string(disks.at("away/node.backup.place")).unwrap().contains(
            "writing 7
line "
        ));
        assert_eq!(disks.place(true).look().unwrap(), Found::Newest);
    }
    let item = Item::Document { name: DOCUMENT.into(), bytes: older(6).into_bytes() };
    assert_eq!(writing(&item).unwrap().to_string(), "writing 6 of the line without a name");
    assert!(fork(Item::Document { name: DOCUMENT.into(), bytes: b"junk".to_vec() }).is_err());
}

#[test]
fn a_file_that_somebody_removed_and_a_note_of_before_there_were_numbers_are_behind() {
    let disks = Disks::new();
    let place = disks.place(true);
    place.renew(|| Ok(b"sealed".to_vec())).unwrap();
    let note = disks.at("away/node.backup.place");
    let text = fs::read_to_string(&note).unwrap();
    let before: String =
        text.lines().filter(|line| !line.starts_with(NUMBER)).map(|line| format!("{line}\n")).collect();
    fs::write(&note, before).unwrap();
    let behind = |part: &str| matches!(place.look().unwrap(), Found::Behind(said) if said.contains(part));
    assert!(behind("it is writing 0 of 1"));
    fs::write(&note, text).unwrap();
    assert_eq!(place.look().unwrap(), Found::Newest);
    fs::remove_file(disks.at("away/node.backup")).unwrap();
    assert!(behind("is gone"));
}

#[test]
fn a_note_that_is_a_pipe_or_a_folder_is_refused_at_once_and_nobody_waits_for_it() {
    for made in ["mkfifo", "mkdir"] {
        let disks = Disks::new();
        let note = disks.at("away/node.backup.place");
        assert!(std::process::Command::new(made).arg(&note).status().unwrap().success());
        let said = disks.place(true).enter().unwrap_err().to_string();
        assert!(said.contains("node.backup.place is no file") && said.ends_with("Remove it"), "{said}");
    }
}

#[test]
fn the_first_time_a_place_on_the_data_folders_disk_is_doubted_until_it_is_meant() {
    let disks = Disks::new();
    let doubt = disks.place(false).enter().unwrap().unwrap();
    assert!(doubt.contains("same_disk = true"), "{doubt}");
    assert!(!disks.at("away/node.backup.place").exists(), "a mount point without its disk is marked as the place");
    disks.place(false).still().unwrap();
    assert_eq!(disks.place(true).enter().unwrap(), None);
    assert!(disks.at("away/node.backup.place").exists());
}

#[test]
fn the_backup_of_another_node_is_not_written_over_nor_that_of_a_node_before_it_was_made_anew_from_words() {
    let mut disks = Disks::new();
    disks.place(true).enter().unwrap();
    disks.store = Arc::new(Memory::new());
    let said = disks.place(true).enter().unwrap_err().to_string();
    assert!(said.contains("of another node") && said.contains("loans that this node does not know"), "{said}");
}
