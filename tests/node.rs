//! Two nodes in one process on a real bitcoind and a real oracle: a loan from quote to close.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod world;

use hypothec::contract::repay::Source;
use hypothec::demo::bitcoind::{BitcoindProcess, Options};
use hypothec::demo::wait::{until, PATIENCE};
use hypothec::node::backup;
use hypothec::node::config::{BackupTo, Config};
use hypothec::node::data::DataFolder;
use hypothec::node::view::{Balance, ConnectRequest, OracleRequest, PreviewRequest, SendRequest};
use hypothec::node::words::Keep;
use hypothec::node::{self};
use hypothec::protocol::{Exit, Stage};
use hypothec_oracle::clock::Clock;
use std::time::Duration;
use world::{loan, start_node, World, HOUR, START};

#[tokio::test(flavor = "multi_thread")]
async fn the_borrower_repays_early_from_its_wallet_and_both_record_the_same_exit() {
    let mut world = World::new().await;
    let id = world.open(300_000, 30).await;
    let day_later = world.now.plus(24 * HOUR).unwrap();
    world.advance(day_later).await;
    world.borrower.handle.repay(id, Source::Wallet).await.unwrap();
    world.settle().await;
    let both = world.closed(id).await;
    for view in both {
        let ended = view.ended.unwrap();
        assert_eq!(ended.exit, Some(Exit::Repaid));
        assert_eq!(ended.returned_to_borrower_sats, 100_000_000);
        assert!(ended.price_cents.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loan_is_repaid_when_its_funding_has_one_of_the_three_confirmations_it_needs() {
    let world = World::new().await;
    let quote = world.quote(300_000, 30).await;
    let id = world.borrower.handle.borrow(quote.loan_id).await.unwrap().loan_id;
    let at_first = until("the first block of the funding", PATIENCE, || async {
        world.settle().await;
        let loan = loan(&world.borrower.handle, id).await;
        if loan.funding_height.is_some() {
            return Ok(loan);
        }
        world.mine(1).await;
        Err(format!("{loan:#?}"))
    });
    let at_first = at_first.await.unwrap();
    assert_eq!((at_first.stage, at_first.confirmations), (Stage::Confirming, (1, 3)));
    world.borrower.handle.repay(id, Source::Wallet).await.unwrap();
    world.settle().await;
    for view in world.closed(id).await {
        let ended = view.ended.unwrap();
        assert_eq!((ended.exit, ended.returned_to_borrower_sats), (Some(Exit::Repaid), 100_000_000));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_borrower_that_named_its_lender_only_in_a_quote_finds_it_again_after_a_restart() {
    let world = World::new().await;
    let clock = world.dir.path().join("clock");
    let start = || start_node(world.dir.path(), "newcomer", &world.bitcoind, &clock);
    let newcomer = start().await;
    let url = world.oracle.as_ref().unwrap().url();
    newcomer.handle.add_oracle(OracleRequest { url, mirrors: Vec::new(), pubkey: None }).await.unwrap();
    let address = newcomer.handle.new_address().await.unwrap().address;
    let address: bitcoin::Address<bitcoin::address::NetworkUnchecked> = address.parse().unwrap();
    world.bitcoind.fund(&address.assume_checked(), bitcoin::Amount::from_sat(150_000_000)).await.unwrap();
    world.mine(1).await;
    let quote = until("a quote", PATIENCE, || async {
        newcomer.handle.quote(world.request(300_000, 30)).await.map_err(|error| error.message)
    });
    let quote = quote.await.unwrap();
    newcomer.handle.borrow(quote.loan_id).await.unwrap();
    newcomer.stop().await.unwrap();
    let newcomer = start().await;
    until("the lender to be there", PATIENCE, || async {
        let peers = newcomer.handle.peers().await.map_err(|error| error.message)?;
        let there = peers.iter().any(|peer| peer.node_id == world.lender.node_id && peer.connected);
        if there {
            Ok(())
        } else {
            Err(format!("{peers:?}"))
        }
    })
    .await
    .unwrap();
    // Gone for longer, the lender is missed by name.
    let World { lender, .. } = world;
    let away = lender.node_id;
    lender.stop().await.unwrap();
    until("the lender to be missed", PATIENCE, || async {
        let troubles = newcomer.handle.status().await.map_err(|error| error.message)?.troubles.join("; ");
        if troubles.contains(&format!("peer {away}: not connected")) {
            Ok(())
        } else {
            Err(troubles)
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_borrower_without_a_coin_has_the_lender_propose_and_repays_from_the_collateral() {
    let mut world = World::new().await;
    let id = world.open(300_000, 30).await;
    let elsewhere = world.lender.handle.new_address().await.unwrap().address;
    world
        .borrower
        .handle
        .send(SendRequest { address: elsewhere, sats: None, all: true, with_fee_coin: true })
        .await
        .unwrap();
    world.mine(1).await;
    assert_eq!(world.borrower.handle.balance().await.unwrap(), Balance::default());
    world.advance(START.plus(HOUR).unwrap()).await;
    world.borrower.handle.repay(id, Source::Collateral).await.unwrap();
    let [borrower, _] = world.closed(id).await;
    let ended = borrower.ended.unwrap();
    assert_eq!(ended.exit, Some(Exit::Repaid));
    let after = world.borrower.handle.balance().await.unwrap();
    assert_eq!(after.confirmed_sats, ended.returned_to_borrower_sats);
    // Fourteen days of interest are the least; the fee paid ahead covers the fee of this transaction.
    let price = ended.price_cents.unwrap();
    let owed = (ended.owed_cents.unwrap() * 100_000_000).div_ceil(price);
    assert_eq!(ended.paid_to_lender_sats, owed + 1_000);
    assert!(ended.returned_to_borrower_sats >= 100_000_000 - owed);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_crash_touches_a_level_and_the_surplus_goes_back() {
    let mut world = World::new().await;
    let id = world.open(380_000, 30).await;
    let view = loan(&world.borrower.handle, id).await;
    assert!(view.level_today.is_some() && view.level_next.is_some());
    // 12 March 2020, 12:00: the ten o'clock bar fell from 7,342 to 5,965 dollars.
    for day in 1..=3 {
        world.advance(START.plus(day * 24 * HOUR).unwrap()).await;
    }
    for hour in 1..=24 {
        world.advance(START.plus((3 * 24 + hour) * HOUR).unwrap()).await;
        if loan(&world.borrower.handle, id).await.ended.is_some() {
            break;
        }
    }
    let both = world.closed(id).await;
    for view in both {
        let ended = view.ended.unwrap();
        assert_eq!(ended.exit, Some(Exit::Liquidated));
        assert!(ended.returned_to_borrower_sats > 0);
        assert_eq!(ended.paid_to_lender_sats + ended.returned_to_borrower_sats, 100_001_000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_does_anything_and_the_fixing_settles() {
    let mut world = World::new().await;
    let id = world.open(300_000, 2).await;
    world.advance(START.plus(24 * HOUR).unwrap()).await;
    world.advance(START.plus(48 * HOUR).unwrap()).await;
    let both = world.closed(id).await;
    for view in both {
        let ended = view.ended.unwrap();
        assert_eq!(ended.exit, Some(Exit::Matured));
        assert!(ended.price_cents.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oracle_falls_silent_and_the_fallback_settles() {
    let mut world = World::new().await;
    let id = world.open(300_000, 2).await;
    world.oracle.take().unwrap().stop().await.unwrap();
    world.advance(START.plus(24 * HOUR).unwrap()).await;
    for day in 2..=33 {
        world.advance(START.plus(day * 24 * HOUR).unwrap()).await;
    }
    let both = world.closed(id).await;
    for view in both {
        assert_eq!(view.ended.unwrap().exit, Some(Exit::FellBack));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lender_that_was_away_for_ten_days_still_finds_the_touch_it_missed() {
    let world = World::new().await;
    let id = world.open(380_000, 30).await;
    let World { bitcoind, oracle, lender, borrower, dir, .. } = world;
    lender.stop().await.unwrap();
    borrower.stop().await.unwrap();
    // The crash of 12 and 13 March passes, and more than a week after it.
    let back = START.plus(14 * 24 * HOUR).unwrap();
    bitcoind.set_mock_time(back).await.unwrap();
    bitcoind.mine(6).await.unwrap();
    let clock = dir.path().join("clock");
    Clock::set_file(&clock, back).unwrap();
    let lender = start_node(dir.path(), "lender", &bitcoind, &clock).await;
    let ended = until("the lender to settle", Duration::from_secs(30), || async {
        loan(&lender.handle, id).await.ended.ok_or("the loan is open".to_string())
    });
    assert_eq!(ended.await.unwrap().exit, Some(Exit::Liquidated));
    drop(oracle);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proposal_that_a_lender_with_a_wrong_clock_refuses_is_taken_back_and_made_anew() {
    let world = World::new().await;
    let id = world.open(300_000, 30).await;
    let World { bitcoind, oracle, lender, borrower, dir, now } = world;
    let (clock, wrong) = (dir.path().join("clock"), dir.path().join("wrong"));
    lender.stop().await.unwrap();
    Clock::set_file(&wrong, now.plus(2 * HOUR).unwrap()).unwrap();
    let lender = start_node(dir.path(), "lender", &bitcoind, &wrong).await;
    let address = format!("{}@{}", lender.node_id, lender.listening.unwrap());
    borrower.handle.connect(ConnectRequest { address }).await.unwrap();
    let told = async |event: &str| {
        let events = borrower.handle.events(0, Duration::ZERO).await.unwrap();
        let told = events.iter().any(|one| one.loan_id == Some(id) && one.event == event);
        told.then_some(()).ok_or_else(|| format!("the events are {events:#?}"))
    };
    let proposed = async || borrower.handle.repay(id, Source::Wallet).await.map(drop).map_err(|error| error.message);
    let mined_until_told = async |event: &str| {
        bitcoind.mine(1).await.unwrap();
        told(event).await
    };
    until("a proposal", PATIENCE, &proposed).await.unwrap();
    told("repaying").await.unwrap();
    // It says what its clock shows: the coin is taken back at once, and nothing is proposed before that confirms.
    until("a refusal", PATIENCE, || told("repayment_dropped")).await.unwrap();
    let note = loan(&borrower.handle, id).await.repayment_note.unwrap();
    let (ours, theirs) = (now.to_string(), now.plus(2 * HOUR).unwrap().to_string());
    assert!(note.contains(&format!("it counts the debt at {ours}, and it is {theirs}")), "{note}");
    let later = now.plus(700).unwrap();
    bitcoind.set_mock_time(later).await.unwrap();
    Clock::set_file(&clock, later).unwrap();
    until("the coin to be taken back", PATIENCE, || told("repayment_withdrawn")).await.unwrap();
    assert!(borrower.handle.repay(id, Source::Wallet).await.is_err());
    until("that to confirm", PATIENCE, || mined_until_told("repayment_gone")).await.unwrap();
    // The lender's clock is put right.
    Clock::set_file(&wrong, later).unwrap();
    until("a new proposal", PATIENCE, &proposed).await.unwrap();
    until("the loan to be closed", PATIENCE, || mined_until_told("closed")).await.unwrap();
    assert_eq!(loan(&borrower.handle, id).await.ended.unwrap().exit, Some(Exit::Repaid));
    drop(oracle);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_node_moves_its_coins_before_it_signs_anything() {
    let mut world = World::new().await;
    let id = world.open(300_000, 30).await;
    let day_later = world.now.plus(24 * HOUR).unwrap();
    world.advance(day_later).await;
    // A coin was set apart for fees meanwhile.
    world.mine(1).await;
    let sealed = world.borrower.handle.backup("a passphrase of a test".into()).await.unwrap();
    let before = world.borrower.handle.balance().await.unwrap();
    let World { bitcoind, lender, borrower, dir, oracle: _oracle, .. } = world;
    // The lender is away: what the borrower half-signs after the backup stays half-signed.
    lender.stop().await.unwrap();
    let _ = borrower.handle.repay(id, Source::Wallet).await;
    borrower.stop().await.unwrap();
    let backup = backup::open(&sealed, &"a passphrase of a test".to_owned().into()).unwrap();
    backup.restore(&dir.path().join("again"), &Keep::Plain, None).unwrap();
    let again = start_node(dir.path(), "again", &bitcoind, &dir.path().join("clock")).await;
    // What it was made from holds the loan: nobody is asked for another backup of it.
    let attention = again.handle.status().await.unwrap().attention;
    assert!(attention.iter().all(|one| !one.about.starts_with("backup ")), "{attention:#?}");
    let troubles = async || again.handle.status().await.map(|status| status.troubles.join("; ")).unwrap();
    until("the coins to be on their way", PATIENCE, || async {
        let said = troubles().await;
        let status = again.handle.status().await.map_err(|error| error.message)?;
        if said.contains("waits for a confirmation") && status.mempool > 0 {
            Ok(())
        } else {
            Err(said)
        }
    })
    .await
    .unwrap();
    let elsewhere = again.handle.new_address().await.unwrap().address;
    for refused in [
        again
            .handle
            .send(SendRequest { address: elsewhere.clone(), sats: Some(10_000), all: false, with_fee_coin: false })
            .await
            .unwrap_err(),
        again.handle.repay(id, Source::Wallet).await.unwrap_err(),
        again.handle.consolidate(false).await.unwrap_err(),
    ] {
        assert!(refused.message.contains("was restored") && refused.code == "unavailable", "{}", refused.message);
    }
    // What would be refused is refused before anybody is asked, and no other trouble is made of it.
    let would = PreviewRequest::Repay { loan_id: id, from: Source::Collateral };
    let refused = again.handle.preview(would).await.unwrap_err();
    assert!(refused.message.contains("was restored") && refused.code == "unavailable", "{refused:?}");
    assert!(!troubles().await.contains("fee coin"), "{}", troubles().await);
    bitcoind.mine(1).await.unwrap();
    until("the coins to have moved", PATIENCE, || async {
        let said = troubles().await;
        if said.contains("restored") {
            Err(said)
        } else {
            Ok(())
        }
    })
    .await
    .unwrap();
    let after = again.handle.balance().await.unwrap();
    assert_eq!((after.unconfirmed_sats, after.reserved_sats), (0, 0));
    let fee = before.confirmed_sats + before.reserved_sats - after.confirmed_sats;
    assert!((100..2_000).contains(&fee), "{fee}");
    println!("bound restored-node 1 transaction, {fee} sats at 5 sat/vB, and 1 block in which nothing is signed");
    again
        .handle
        .send(SendRequest { address: elsewhere, sats: Some(10_000), all: false, with_fee_coin: false })
        .await
        .unwrap();
    again.stop().await.unwrap();
    // Once is enough.
    let again = start_node(dir.path(), "again", &bitcoind, &dir.path().join("clock")).await;
    assert!(!again.handle.status().await.unwrap().troubles.join("; ").contains("restored"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_starts_and_is_backed_up_without_bitcoind_and_goes_on_when_it_is_there() {
    let world = World::new().await;
    let World { bitcoind, borrower, dir, .. } = world;
    borrower.stop().await.unwrap();
    let port = bitcoind.rpc_url().rsplit(':').next().unwrap().parse::<u16>().unwrap();
    let folder = dir.path().join("bitcoind");
    bitcoind.stop().await.unwrap();
    let path = dir.path().join("borrower");
    let renewed = dir.path().join("away.backup");
    let mut config = Config::load(&path, Some(dir.path().join("clock"))).unwrap();
    config.backup = Some(BackupTo { file: renewed.clone(), same_disk: true });
    let node = node::start(config).await.unwrap();
    let status = node.handle.status().await.unwrap();
    let said = status.troubles.join("; ");
    assert!(said.contains("waiting for bitcoind") && said.contains("cannot be reached"), "{said}");
    assert!(!said.contains("correct `bitcoind.cookie`") && !status.idle, "{said}");
    let sealed = node.handle.backup("a passphrase of a test".into()).await.unwrap();
    assert!(backup::open(&sealed, &"a passphrase of a test".to_owned().into()).is_ok());
    // The backup that renews itself needs no bitcoind either, and opens with the words.
    until("the backup to be there", PATIENCE, || async { renewed.exists().then_some(()).ok_or("not yet".to_owned()) })
        .await
        .unwrap();
    let words = DataFolder::open(&path).unwrap().words().unwrap();
    assert!(backup::open_with_words(&std::fs::read(&renewed).unwrap(), &words).is_ok());
    let options = Options { mock_time: Some(START), rpc_port: Some(port), ..Options::default() };
    let _bitcoind = BitcoindProcess::start(&folder, options).await.unwrap();
    until("the node to go on", PATIENCE, || async {
        let status = node.handle.status().await.map_err(|error| error.message)?;
        if status.height > 0 && status.troubles.iter().all(|trouble| !trouble.starts_with("chain")) {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_whose_disk_is_gone_is_not_written_to_the_mount_point_and_status_says_so() {
    let mut world = World::new().await;
    let away = world.dir.path().join("away");
    std::fs::create_dir(&away).unwrap();
    let mut config = Config::load(&world.dir.path().join("borrower"), Some(world.dir.path().join("clock"))).unwrap();
    config.backup = Some(BackupTo { file: away.join("node.backup"), same_disk: true });
    world.borrower.stop().await.unwrap();
    world.borrower = node::start(config).await.unwrap();
    let there = async || away.join("node.backup").exists().then_some(()).ok_or("not yet".to_owned());
    until("the backup to be there", PATIENCE, there).await.unwrap();
    // The disk goes, and its mount point stays.
    std::fs::rename(&away, world.dir.path().join("disk")).unwrap();
    std::fs::create_dir(&away).unwrap();
    world.open(300_000, 30).await;
    until("the trouble to be told", PATIENCE, || async {
        let said = world.borrower.handle.status().await.map_err(|error| error.message)?.troubles.join("; ");
        said.contains("its disk is not mounted").then_some(()).ok_or(said)
    })
    .await
    .unwrap();
    assert_eq!(std::fs::read_dir(&away).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_backup_disks_in_turn_the_one_that_is_back_is_written_anew_although_nothing_is_recorded() {
    let mut world = World::new().await;
    let at = |name: &str| world.dir.path().join(name);
    let [mount, first, second] = ["away", "first", "second"].map(at);
    std::fs::create_dir(&mount).unwrap();
    std::fs::create_dir(&second).unwrap();
    std::fs::write(second.join("node.backup.place"), "").unwrap();
    let mut config = Config::load(&at("borrower"), Some(at("clock"))).unwrap();
    config.backup = Some(BackupTo { file: mount.join("node.backup"), same_disk: true });
    world.borrower.stop().await.unwrap();
    world.borrower = node::start(config).await.unwrap();
    let file = mount.join("node.backup");
    until("the first backup", PATIENCE, async || file.exists().then_some(()).ok_or("not yet".to_owned()))
        .await
        .unwrap();
    let quiet = async || {
        let status = world.borrower.handle.status().await.map_err(|error| error.message)?;
        let said = status.troubles.join("; ");
        (status.idle && !said.contains("backup")).then_some(()).ok_or(said)
    };
    until("the first backup's note", PATIENCE, quiet).await.unwrap();
    std::fs::rename(&mount, &first).unwrap();
    std::fs::rename(&second, &mount).unwrap();
    world.open(300_000, 30).await;
    until("the second backup", PATIENCE, async || file.exists().then_some(()).ok_or("not yet".to_owned()))
        .await
        .unwrap();
    until("the second backup's note", PATIENCE, quiet).await.unwrap();
    let older = std::fs::read(first.join("node.backup")).unwrap();
    std::fs::rename(&mount, &second).unwrap();
    std::fs::rename(&first, &mount).unwrap();
    until("the first disk's backup to be written anew", PATIENCE, async || {
        let now = std::fs::read(&file).map_err(|error| error.to_string())?;
        (now != older).then_some(()).ok_or(format!("{} bytes as before", now.len()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_where_the_backups_note_belongs_is_told_and_keeps_no_node_from_its_end() {
    let mut world = World::new().await;
    let file = world.dir.path().join("node.backup");
    let made = std::process::Command::new("mkfifo").arg(world.dir.path().join("node.backup.place")).status();
    assert!(made.unwrap().success());
    let mut config = Config::load(&world.dir.path().join("borrower"), Some(world.dir.path().join("clock"))).unwrap();
    config.backup = Some(BackupTo { file: file.clone(), same_disk: true });
    world.borrower.stop().await.unwrap();
    world.borrower = node::start(config).await.unwrap();
    until("the trouble to be told", PATIENCE, || async {
        let said = world.borrower.handle.status().await.map_err(|error| error.message)?.troubles.join("; ");
        said.contains("node.backup.place is no file").then_some(()).ok_or(said)
    })
    .await
    .unwrap();
    assert!(!file.exists());
    let World { borrower, .. } = world;
    tokio::time::timeout(PATIENCE, borrower.stop()).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_and_an_oracle_are_forgotten_for_good_once_nothing_open_rests_on_them() {
    let world = World::new().await;
    let id = world.open(300_000, 30).await;
    let (lender, oracle) = (world.lender.node_id, world.oracle.as_ref().unwrap().key);
    let kept = [
        world.borrower.handle.remove_peer(lender).await.unwrap_err(),
        world.borrower.handle.remove_oracle(oracle).await.unwrap_err(),
        world.lender.handle.remove_oracle(oracle).await.unwrap_err(),
    ];
    for refused in &kept {
        assert!(refused.code == "refused" && refused.message.contains(&id.to_string()), "{refused:?}");
    }
    assert!(kept[2].message.contains("policy set --remove-oracle"), "{kept:?}");
    world.borrower.handle.repay(id, Source::Wallet).await.unwrap();
    world.settle().await;
    world.closed(id).await;
    let refused = world.lender.handle.remove_oracle(oracle).await.unwrap_err();
    assert!(refused.message.contains("the policy names oracle"), "{refused:?}");
    let gone = world.borrower.handle.remove_peer(lender).await.unwrap();
    assert_eq!((gone.node_id, gone.address), (lender, Some(world.lender_address())));
    assert_eq!(world.borrower.handle.remove_oracle(oracle).await.unwrap().pubkey, oracle);
    let World { dir, bitcoind, borrower, .. } = world;
    borrower.stop().await.unwrap();
    let borrower = start_node(dir.path(), "borrower", &bitcoind, &dir.path().join("clock")).await;
    assert_eq!(borrower.handle.peers().await.unwrap(), []);
    assert_eq!(borrower.handle.oracles().await.unwrap(), []);
    assert_eq!(borrower.handle.remove_peer(lender).await.unwrap_err().code, "not_found");
    assert_eq!(borrower.handle.remove_oracle(oracle).await.unwrap_err().code, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_borrower_whose_node_was_off_at_the_receipt_sees_what_was_owed_then_by_the_time_of_its_block() {
    let mut world = World::new().await;
    let id = world.open(300_000, 3).await;
    let days_later = world.now.plus(26 * HOUR).unwrap();
    world.advance(days_later).await;
    let World { bitcoind, lender, borrower, dir, oracle: _oracle, .. } = world;
    borrower.stop().await.unwrap();
    lender.handle.receipt(id).await.unwrap();
    until("the receipt to be out", PATIENCE, || async {
        let loan = lender.handle.loan(id).await.unwrap();
        loan.ended.clone().ok_or_else(|| format!("{loan:?}"))
    })
    .await
    .unwrap();
    bitcoind.mine(6).await.unwrap();
    let borrower = start_node(dir.path(), "borrower", &bitcoind, &dir.path().join("clock")).await;
    let over = |node: &'static str, handle: hypothec::node::Handle| async move {
        until(node, PATIENCE, || async {
            let loan = handle.loan(id).await.unwrap();
            (loan.stage == Stage::Closed).then_some(loan.clone()).ok_or_else(|| format!("{loan:?}"))
        })
        .await
        .unwrap()
    };
    let [theirs, ours] =
        [over("the lender", lender.handle.clone()).await, over("the borrower", borrower.handle.clone()).await];
    let (ended, statement) = (ours.ended.unwrap(), ours.statement.unwrap());
    assert!(ended.owed_cents.is_some_and(|owed| owed > ours.principal_cents), "{ended:?}");
    assert_eq!(ended.owed_cents, theirs.ended.unwrap().owed_cents, "by its record");
    assert_eq!(statement.interest_cents, ended.owed_cents.map(|owed| owed - ours.principal_cents));
    assert_eq!((statement.owed_by_block, theirs.statement.unwrap().owed_by_block), (true, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quote_that_fails_says_which_way_it_failed() {
    let world = World::new().await;
    let right = world.lender_address();
    let (key, place) = right.split_once('@').unwrap();
    // A known peer at a wrong port: it is there, and not where it was looked for.
    let typed = format!("{key}@127.0.0.1:1");
    let seen = world.borrower.handle.connect(ConnectRequest { address: typed.clone() }).await.unwrap();
    assert_eq!((seen.connected, seen.address, seen.wanted), (true, Some(right.clone()), Some(typed)));
    until("the wrong port to be told", PATIENCE, || async {
        let peers = world.borrower.handle.peers().await.unwrap();
        let why = peers[0].wanted_problem.clone().ok_or_else(|| format!("{peers:?}"))?;
        (peers[0].connected && why.code == "not_listening").then_some(()).ok_or_else(|| format!("{peers:?}"))
    })
    .await
    .unwrap();
    let back = world.borrower.handle.connect(ConnectRequest { address: right.clone() }).await.unwrap();
    assert_eq!((back.connected, back.wanted), (true, None));
    // Connected, it is asked over that, and it is said that the place was not tried; at its own place there is nothing to say.
    let asked =
        hypothec::node::view::QuoteRequest { lender: format!("{key}@127.0.0.1:2"), ..world.request(300_000, 30) };
    let note = world.borrower.handle.quote(asked).await.unwrap().place_note.unwrap();
    let said = format!("the connection that this node opened to {place}; 127.0.0.1:2 was not tried");
    assert!(note.contains(&said), "{note}");
    assert_eq!(world.quote(300_000, 30).await.place_note, None);
    // A key of nobody's, and a place where a web server answers.
    let nobody = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
    let web = world.oracle.as_ref().unwrap().url().trim_start_matches("http://").to_owned();
    let other = "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5";
    let third = "02f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9";
    for (lender, code, remedy) in [
        (format!("{nobody}@{place}"), "wrong_key", "ask the peer for its address"),
        (format!("{nobody}@{web}"), "other_protocol", "see the port"),
        (format!("{other}@no-such-host.invalid:9810"), "unknown_host", "written right"),
        (format!("{third}@127.0.0.1:1"), "not_listening", "see that its node runs"),
    ] {
        let started = std::time::Instant::now();
        let request = hypothec::node::view::QuoteRequest { lender, ..world.request(300_000, 30) };
        let said = world.borrower.handle.quote(request).await.unwrap_err();
        assert!(said.code == code && said.message.contains(remedy), "{said:?}");
        assert!(started.elapsed() < Duration::from_secs(12), "{code} took {:?}", started.elapsed());
    }
    // The lender itself, which says no.
    let said = world.borrower.handle.quote(world.request(300_000_000, 30)).await.unwrap_err();
    assert!(said.code == "refused" && said.message.starts_with("the lender refuses: "), "{said:?}");
}
