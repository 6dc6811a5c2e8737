//! The oracle as ddk's own clients meet it, from the announcement up to a transaction that bitcoin accepts.

use bitcoin::absolute::LockTime;
use bitcoin::bip32::{DerivationPath, Xpriv};
use bitcoin::transaction::Version;
use bitcoin::{Amount, Network, OutPoint, ScriptBuf, Transaction, TxIn, TxOut};
use ddk::contract::{
    accept_offer, chain_hash_from_network, create_funding_psbt, create_offer, finalize_sign, funding_input,
    sign_accept, sign_cet, signing, AcceptOfferParams, CreateOfferParams, InputDerivation, PartyParams,
};
use ddk::logger::Logger;
use ddk::oracle::kormir::KormirOracleClient;
use ddk::oracle::p2p_derivatives::P2PDOracleClient;
use ddk_manager::Oracle as _;
use dlc_messages::contract_msgs::{
    ContractDescriptor, ContractInfo, ContractInfoInner, ContractOutcome, EnumeratedContractDescriptor,
    NumericOutcomeContractDescriptor, PayoutCurvePiece, PayoutFunction, PayoutFunctionPiece, PayoutPoint,
    PolynomialPayoutCurvePiece, RoundingInterval, RoundingIntervals, SingleContractInfo,
};
use dlc_messages::oracle_msgs::{OracleAnnouncement, OracleAttestation, OracleInfo, SingleOracleInfo};
use dlc_messages::FundingInput;
use hypothec_oracle::clock::Clock;
use hypothec_oracle::daemon::{self, Config, FeedChoice, Limits, Network as OracleNetwork, Oracle};
use hypothec_oracle::units::Time;
use secp256k1_zkp::{SecretKey, SECP256K1};
use std::str::FromStr;
use std::sync::Arc;

const CSV: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../src/demo/prices-2020-03.csv");
/// 12 March 2020, 00:00, and 13:00 of that day, when the crash had gone through 6,000.
const START: u32 = 1_583_971_200;
const CRASHED: Time = Time(START + 13 * 3_600);
const TOUCH: &str = "btcusd-touch-7000-20200312-h00";
const FIXING: &str = "btcusd1584010800";
/// A day before anything matures.
const NEGOTIATED: u64 = START as u64 - 86_400;
const TOTAL: Amount = Amount::from_sat(100_000);

struct World {
    folder: tempfile::TempDir,
    oracle: Oracle,
}

impl World {
    async fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let (data, clock) = (folder.path().join("oracle"), folder.path().join("clock"));
        daemon::init(&data).unwrap();
        Clock::set_file(&clock, Time(START)).unwrap();
        let config = Config {
            data,
            listen: "127.0.0.1:0".parse().unwrap(),
            network: OracleNetwork::Regtest,
            feed: FeedChoice::Replay(CSV.into()),
            clock: Clock::file(&clock),
            limits: Limits::default(),
            operating: daemon::Operating::default(),
            replicas: daemon::Replicas::default(),
        };
        World { oracle: daemon::start(config).await.unwrap(), folder }
    }

    async fn kormir(&self) -> KormirOracleClient {
        let logger = Arc::new(Logger::disabled("test".to_string()));
        KormirOracleClient::new(&self.oracle.url(), None, logger).await.unwrap()
    }

    async fn p2pderivatives(&self) -> P2PDOracleClient {
        P2PDOracleClient::new(&self.oracle.url()).await.unwrap()
    }

    fn crash(&self) {
        Clock::set_file(&self.folder.path().join("clock"), CRASHED).unwrap();
    }
}

/// Asks until the oracle has followed its clock.
async fn attested(client: &impl ddk_manager::Oracle, id: &str) -> OracleAttestation {
    let asked = std::time::Instant::now();
    loop {
        match client.get_attestation(id).await {
            Ok(attestation) => return attestation,
            Err(error) => assert!(asked.elapsed().as_secs() < 60, "{id} is not attested: {error}"),
        }
    }
}

/// One side: a key for the contract, and a wallet with one coin.
struct Party {
    key: SecretKey,
    wallet: Xpriv,
    path: DerivationPath,
    input: FundingInput,
}

impl Party {
    fn new(seed: u8) -> Party {
        let wallet = Xpriv::new_master(Network::Regtest, &[seed; 64]).unwrap();
        let path = DerivationPath::from_str("84h/1h/0h/0/0").unwrap();
        let coin = Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn { previous_output: OutPoint::null(), ..TxIn::default() }],
            output: vec![TxOut { value: Amount::from_sat(150_000), script_pubkey: script(&wallet, &path) }],
        };
        let input = funding_input(&coin, 0, Some(u64::from(seed)), u32::MAX, 108, ScriptBuf::new()).unwrap();
        Party { key: SecretKey::from_slice(&[seed; 32]).unwrap(), wallet, path, input }
    }

    fn params(&self) -> PartyParams {
        PartyParams {
            funding_pubkey: self.key.public_key(SECP256K1),
            funding_inputs: vec![self.input.clone()],
            payout_spk: script(&self.wallet, &self.path),
            payout_serial_id: None,
            change_spk: script(&self.wallet, &self.path),
            change_serial_id: None,
        }
    }

    fn derivations(&self) -> Vec<InputDerivation> {
        vec![InputDerivation { input_serial_id: self.input.input_serial_id, derivation_path: self.path.clone() }]
    }
}

fn script(wallet: &Xpriv, path: &DerivationPath) -> ScriptBuf {
    let key = wallet.derive_priv(SECP256K1, path).unwrap().to_priv().public_key(SECP256K1);
    ScriptBuf::new_p2wpkh(&key.wpubkey_hash().unwrap())
}

fn info(announcement: OracleAnnouncement, contract_descriptor: ContractDescriptor) -> ContractInfo {
    let oracle_info = OracleInfo::Single(SingleOracleInfo { oracle_announcement: announcement });
    ContractInfo::SingleContractInfo(SingleContractInfo {
        total_collateral: TOTAL,
        contract_info: ContractInfoInner { contract_descriptor, oracle_info },
    })
}

/// The offering party gets everything when the level is touched.
fn on_touch(announcement: OracleAnnouncement) -> ContractInfo {
    let outcome = announcement.oracle_event.event_id.clone();
    let payouts = vec![ContractOutcome { outcome, offer_payout: TOTAL }];
    info(announcement, ContractDescriptor::EnumeratedContractDescriptor(EnumeratedContractDescriptor { payouts }))
}

/// The offering party gets 30,000 sats below $8,192, else 60,000.
fn on_fixing(announcement: OracleAnnouncement) -> ContractInfo {
    let point =
        |event_outcome, sats| PayoutPoint { event_outcome, outcome_payout: Amount::from_sat(sats), extra_precision: 0 };
    let piece = |start: PayoutPoint| PayoutFunctionPiece {
        end_point: start,
        payout_curve_piece: PayoutCurvePiece::PolynomialPayoutCurvePiece(PolynomialPayoutCurvePiece {
            payout_points: vec![],
        }),
    };
    let payout_function = PayoutFunction {
        payout_function_pieces: vec![piece(point(0, 30_000)), piece(point(8_191, 30_000)), piece(point(8_192, 60_000))],
        last_endpoint: point((1 << 20) - 1, 60_000),
    };
    let rounding_intervals =
        RoundingIntervals { intervals: vec![RoundingInterval { begin_interval: 0, rounding_mod: 1 }] };
    info(
        announcement,
        ContractDescriptor::NumericOutcomeContractDescriptor(NumericOutcomeContractDescriptor {
            num_digits: 20,
            payout_function,
            rounding_intervals,
        }),
    )
}

/// Offer, accept, sign, fund; then the given side settles with the attestation, and bitcoin's own code judges.
fn settle(
    contract: ContractInfo,
    maturity: u32,
    attestation: &OracleAttestation,
    offerer_settles: bool,
) -> Transaction {
    let (offerer, accepter) = (Party::new(21), Party::new(22));
    let offer = create_offer(CreateOfferParams {
        chain_hash: chain_hash_from_network(Network::Regtest),
        temporary_contract_id: Some([9; 32]),
        contract_info: contract,
        offer_collateral: Amount::from_sat(50_000),
        party: offerer.params(),
        fund_output_serial_id: None,
        fee_rate_per_vb: 2,
        cet_locktime: Some(0),
        refund_locktime: maturity + 86_400,
        contract_flags: 0,
    })
    .unwrap();
    let params = AcceptOfferParams {
        party: accepter.params(),
        min_timeout_interval: 3_600,
        max_timeout_interval: 7 * 86_400,
        now_unix: NEGOTIATED,
    };
    let accept = accept_offer(&offer, params, &accepter.key).unwrap().accept;
    let sign_inputs = |party: &Party| {
        let mut psbt = create_funding_psbt(&offer, &accept).unwrap();
        signing::sign_funding_psbt_with_xpriv(&offer, &accept, &mut psbt, &party.wallet, &party.derivations()).unwrap();
        psbt
    };
    let sign = sign_accept(&offer, &accept, &offerer.key, &sign_inputs(&offerer)).unwrap().sign;
    let funding = finalize_sign(&offer, &accept, &sign, &sign_inputs(&accepter)).unwrap();
    let key = if offerer_settles { offerer.key } else { accepter.key };
    let cet = sign_cet(&offer, &accept, &sign, &key, &[(0, attestation.clone())]).unwrap();
    let spent =
        |point: &OutPoint| (point.txid == funding.compute_txid()).then(|| funding.output[point.vout as usize].clone());
    cet.verify(spent).unwrap();
    assert!(cet.output.iter().map(|out| out.value).sum::<Amount>() <= TOTAL);
    cet
}

fn paid_to_offerer(cet: &Transaction) -> u64 {
    let offerer = Party::new(21).params().payout_spk;
    cet.output.iter().filter(|out| out.script_pubkey == offerer).map(|out| out.value.to_sat()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn kormirs_client_takes_a_contract_on_a_touch_to_its_settlement() {
    let world = World::new().await;
    let client = world.kormir().await;
    assert_eq!(client.get_public_key(), world.oracle.key);
    let announcement = client.get_announcement(TOUCH).await.unwrap();
    announcement.validate(SECP256K1).unwrap();
    assert!(client.get_attestation(TOUCH).await.is_err(), "an error body is no attestation");
    world.crash();
    let attestation = attested(&client, TOUCH).await;
    attestation.validate(SECP256K1, &announcement).unwrap();
    let maturity = announcement.oracle_event.event_maturity_epoch;
    for offerer_settles in [true, false] {
        let cet = settle(on_touch(announcement.clone()), maturity, &attestation, offerer_settles);
        assert_eq!((paid_to_offerer(&cet), cet.output.len()), (100_000, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kormirs_client_takes_a_contract_on_a_fixing_to_its_settlement_and_lists_events() {
    let world = World::new().await;
    let client = world.kormir().await;
    let announcement = client.get_announcement(FIXING).await.unwrap();
    world.crash();
    let attestation = attested(&client, FIXING).await;
    attestation.validate(SECP256K1, &announcement).unwrap();
    let cet =
        settle(on_fixing(announcement.clone()), announcement.oracle_event.event_maturity_epoch, &attestation, true);
    assert_eq!(paid_to_offerer(&cet), 30_000, "it was far below $8,192");
    let listed = client.list_events().await.unwrap();
    assert_eq!(listed.len(), 49);
    let ours = listed.iter().find(|event| event.event_id == FIXING).unwrap();
    assert_eq!((ours.announcement == announcement, ours.signatures.len()), (true, 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_p2pderivatives_client_takes_a_contract_on_a_fixing_to_its_settlement() {
    let world = World::new().await;
    let client = world.p2pderivatives().await;
    assert_eq!(client.get_public_key(), world.oracle.key);
    let announcement = client.get_announcement(FIXING).await.unwrap();
    announcement.validate(SECP256K1).unwrap();
    assert_eq!(announcement, world.kormir().await.get_announcement(FIXING).await.unwrap());
    assert!(client.get_announcement("btcusd1584010801").await.is_err(), "not a full hour");
    assert!(client.get_announcement("ethusd1584010800").await.is_err(), "not our asset");
    assert!(client.get_attestation(FIXING).await.is_err());
    world.crash();
    let attestation = attested(&client, FIXING).await;
    attestation.validate(SECP256K1, &announcement).unwrap();
    let cet =
        settle(on_fixing(announcement.clone()), announcement.oracle_event.event_maturity_epoch, &attestation, false);
    assert_eq!(paid_to_offerer(&cet), 30_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn kormirs_client_can_order_nothing() {
    let world = World::new().await;
    let client = world.kormir().await;
    assert!(client.create_enum_event(vec!["a".into()], START).await.is_err());
    assert!(client.create_numeric_event(Some(20), Some(false), Some(0), "usd".into(), START).await.is_err());
    assert!(client.sign_enum_event(TOUCH.into(), TOUCH.into()).await.is_err());
    assert!(client.sign_numeric_event(FIXING.into(), 1).await.is_err());
    assert!(client.get_attestation(FIXING).await.is_err(), "and nothing was signed by asking");
}
