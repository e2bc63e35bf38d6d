use std::error::Error as _;
use std::time::{Duration, Instant};

use tonic::{Code, Status};

use crate::course::Gate;
use crate::deadline::Deadline;
use crate::errors::{Error, translate};
use crate::pacing::{LONGEST_PAUSE, Window, retry_pause};
use crate::requests::{Limits, plan_requests};
use crate::settings::Settings;
use crate::similarity::score_matrix;
use crate::tests::checks::{assert_error, built, kind_named, open, read_conformance};
use crate::{Builder, Matrix, Priority, SentenceEncoder, Similarity};

fn code_named(name: &str) -> Code {
    let words = |code: Code| format!("{code:?}").to_lowercase();
    let name = name.replace('_', "").to_lowercase();
    (0..=16).map(Code::from_i32).find(|code| words(*code) == name).unwrap()
}

#[test]
fn statuses() {
    let file = read_conformance();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let of_file =
        file["statuses"].as_array().unwrap().iter().map(|each| (text(&each[0]), text(&each[1]), text(&each[2])));
    let own = [
        ("UNAVAILABLE", "cannot connect to [::1]:1: invalid peer certificate: UnknownIssuer", "AccessDenied"),
        ("UNAVAILABLE", "the connection broke: received fatal alert: CertificateRequired", "AccessDenied"),
        ("CANCELLED", "operation was canceled", "ServerError"),
    ];
    let own = own.map(|(code, message, error)| (code.to_owned(), message.to_owned(), error.to_owned()));
    let mut count = 0;
    for (code, message, error) in of_file.chain(own) {
        let code = code_named(&code);
        let failure = translate(Status::new(code, &message), "host:1");
        let found = assert_error::<()>(Err(failure), kind_named(&error), &[]);
        assert!(!found.message().is_empty());
        assert_eq!(found.status().map(Status::code), Some(code));
        assert!(found.source().unwrap().downcast_ref::<Status>().unwrap().message() == message);
        count += 1;
    }
    assert!(count > 25);
}

#[test]
fn pauses_grow_to_three_seconds() {
    for (attempt, longest) in (1..).zip([100.0, 200.0, 400.0, 800.0, 1600.0, 3000.0, 3000.0]) {
        for (random, factor) in [(0.0, 0.2), (1.0, 1.0)] {
            let pause = retry_pause(attempt, random).as_secs_f64() * 1000.0;
            assert!((pause - factor * longest).abs() < 1.0, "the pause after attempt {attempt} is {pause} ms");
        }
    }
    assert_eq!(retry_pause(1000, 1.0), LONGEST_PAUSE);
}

#[test]
fn the_window_opens_while_the_rate_grows() {
    let mut window = Window::new(16);
    let mut now = Instant::now();
    // Twice as many in flight, twice the rate: a server that is not full.
    for _ in 0..500 {
        now += Duration::from_secs(1) / u32::try_from(window.limit()).unwrap();
        window.answered(100, now);
    }
    assert_eq!((window.limit(), window.next().limit()), (16, 16));
    window.overloaded();
    assert_eq!(window.limit(), 8);
    (0..5).for_each(|_| window.overloaded());
    assert_eq!(window.limit(), 1);
}

#[test]
fn a_plan_keeps_the_limits() {
    let texts: Vec<String> = (0..300).map(|each| "가".repeat(each * 7919 % 200)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let mut order = Vec::new();
    for rows in plan_requests(&texts, Limits { max_rows: 64, max_seq_length: 128, prompt: "" }) {
        let characters = |index: &usize| texts[*index].chars().count();
        let tokens: usize = rows.indices.iter().map(|index| (characters(index) + 2).min(128)).sum();
        assert!(rows.indices.len() <= 64 && tokens <= 4096);
        assert_eq!(rows.characters, rows.indices.iter().map(characters).sum::<usize>());
        let mut content = rows.texts.to_vec();
        for index in &rows.indices {
            let expected: Vec<u8> =
                (texts[*index].len() as u32).to_le_bytes().into_iter().chain(texts[*index].bytes()).collect();
            assert!(content.starts_with(&expected));
            content.drain(..expected.len());
        }
        order.extend(rows.indices);
    }
    assert!(order.is_sorted_by_key(|index| std::cmp::Reverse(texts[*index].len())), "the longest is not first");
    order.sort_unstable();
    assert!(order.into_iter().eq(0..300));
    let big: Vec<String> =
        [400_000].into_iter().chain([100_000; 20]).chain([1]).map(|size| "가".repeat(size)).collect();
    let big: Vec<&str> = big.iter().map(String::as_str).collect();
    let prompt = "나".repeat(10_000);
    let plan = plan_requests(&big, Limits { max_rows: 64, max_seq_length: 128, prompt: &prompt });
    let sizes: Vec<usize> = plan.map(|rows| rows.indices.len()).collect();
    assert_eq!(sizes, [1, 3, 3, 3, 3, 3, 3, 3]);
}

#[test]
fn a_suspended_process_does_not_blame_the_server() {
    let (begin, second) = (Instant::now(), Duration::from_secs(1));
    let deadline = Deadline::new(None, 10 * second, begin);
    deadline.looked(begin + 30 * second);
    assert!(!deadline.over(begin + 38 * second) && deadline.over(begin + 40 * second));
}

#[test]
fn settings_come_from_the_caller_then_the_variables_then_the_defaults() {
    let environment = |name: &str| {
        let value = match name {
            "SENTRITON_URL" => "a:1, b:2",
            "SENTRITON_TIMEOUT_S" => "2.5",
            "SENTRITON_TLS" => "on",
            "SENTRITON_PRIORITY" => "bulk",
            _ => "",
        };
        Some(value.to_owned())
    };
    let resolve = |builder: Builder| Settings::resolve(&builder, environment).unwrap();
    let found = resolve(SentenceEncoder::builder().timeout(Duration::from_secs(7)));
    let addresses: Vec<&str> = found.addresses.iter().map(|address| address.text.as_str()).collect();
    assert_eq!(addresses, ["a:1", "b:2"]);
    assert_eq!((found.timeout, found.tls), (Some(Duration::from_secs(7)), true));
    assert_eq!((found.max_in_flight, found.priority), (16, Priority::Bulk));
    assert_eq!(found.stall_timeout, Duration::from_secs(60));
    let found = resolve(SentenceEncoder::builder().url("c:3"));
    assert_eq!((found.url.as_str(), found.timeout), ("c:3", Some(Duration::from_millis(2500))));
    for name in ["TIMEOUT_S", "STALL_TIMEOUT_S", "MAX_IN_FLIGHT", "TLS", "PRIORITY", "ON_MODEL_CHANGE"] {
        for value in ["soon", "-1", "NaN", "Infinity"] {
            let environment = |asked: &str| (asked == format!("SENTRITON_{name}")).then(|| value.to_owned());
            let says = format!("is {value:?}; allowed are ");
            assert_error(Settings::resolve(&SentenceEncoder::builder(), environment), Error::InvalidInput, &[&says]);
        }
    }
}

#[test]
fn a_tilde_is_the_home_folder() {
    let environment = |name: &str| match name {
        "HOME" => Some("/home/me".to_owned()),
        "SENTRITON_ROOT_CERTIFICATES" => Some("~/ca.pem".to_owned()),
        _ => None,
    };
    let given = SentenceEncoder::builder().client_certificate("~me/own.pem", "~/own.key");
    let found = Settings::resolve(&given, environment).unwrap();
    assert_eq!(found.root_certificates, Some("/home/me/ca.pem".into()));
    assert_eq!(found.client_certificate, Some(("~me/own.pem".into(), "/home/me/own.key".into())));
}

#[tokio::test]
async fn wrong_settings_are_refused() {
    let builder = || SentenceEncoder::builder().url("a:1");
    for (says, wrong) in [
        ("timeout is 0ns; allowed are times above 0", builder().timeout(Duration::ZERO)),
        ("stall_timeout is 0ns; allowed are", builder().stall_timeout(Duration::ZERO)),
        ("max_in_flight is 0; allowed are whole numbers", builder().max_in_flight(0)),
        ("the access key cannot be sent; allowed are printable ASCII characters", builder().access_key("secret\n")),
    ] {
        assert_error(built(wrong), Error::InvalidInput, &[says]);
    }
    for url in [",", "localhost", "http://a:1", "a:0", "a:65536", "a:+1", "a b:1", "::1:80", "[a]:1", ":1", "dns:///a"]
    {
        assert_error(built(builder().url(url)), Error::InvalidInput, &["url is ", "give host:port"]);
    }
    let right = "a:1,[::1]:2,dns:///c.d:3,dns://10.0.0.2:53/e.f:4";
    let encoder = open(right);
    assert_eq!((encoder.settings().addresses.len(), encoder.url()), (4, right));
    let server = "dns://10.0.0.2:none/e.f:4";
    assert_error(built(builder().url(server)), Error::InvalidInput, &["name server 10.0.0.2:none"]);
    let three = ["a", "b", "c"];
    assert_error(
        encoder.encode(&three).batch_size(0).await,
        Error::InvalidInput,
        &["batch_size is 0; allowed are whole"],
    );
}

#[test]
fn similarity_of_rows() {
    let first = Matrix::from_rows(&[[1.0, 0.0], [3.0, 4.0]]).unwrap();
    let second = Matrix::from_rows(&[[0.0, 2.0]]).unwrap();
    for (similarity, expected) in [
        (Similarity::Cosine, [0.0, 0.8]),
        (Similarity::Dot, [0.0, 8.0]),
        (Similarity::Euclidean, [-5_f32.sqrt(), -13_f32.sqrt()]),
        (Similarity::Manhattan, [-3.0, -5.0]),
    ] {
        let found = score_matrix(similarity, &first, &second).unwrap();
        assert_eq!((found.rows(), found.columns()), (2, 1));
        let far = found.iter().zip(expected).find(|(row, expected)| (row[0] - expected).abs() > 1e-6);
        assert!(far.is_none(), "{similarity}: {far:?}");
    }
    let other = Matrix::from_rows(&[[1.0]]).unwrap();
    let says = ["embeddings of 2 and 1 dimensions cannot be compared"];
    assert_error(score_matrix(Similarity::Dot, &first, &other), Error::InvalidInput, &says);
}

#[test]
fn rows_of_a_matrix_are_views() {
    let matrix = Matrix::from_rows(&[vec![1.0, 2.0], vec![3.0, 4.0]]).unwrap();
    assert_eq!((matrix.row(0), &matrix[1]), (&[1.0, 2.0][..], &[3.0, 4.0][..]));
    assert_eq!(matrix.as_slice().as_ptr(), matrix.row(0).as_ptr());
    assert_eq!((&matrix).into_iter().count(), 2);
    assert!(std::panic::catch_unwind(|| matrix.row(2).len()).is_err());
    assert_eq!(Matrix::from_rows::<[f32; 2]>(&[]).unwrap(), Matrix::default());
    let says = ["row 1 has 2 numbers and row 0 has 1"];
    assert_error(Matrix::from_rows(&[vec![1.0], vec![1.0, 2.0]]), Error::InvalidInput, &says);
    assert_eq!(matrix.into_vec(), [1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn nothing_prints_a_secret() {
    let builder = SentenceEncoder::builder().url("localhost:1").access_key("secret");
    let encoder = built(builder.clone()).unwrap();
    for printed in [format!("{builder:?}"), format!("{encoder:?}"), format!("{:?}", encoder.settings())] {
        assert!(printed.contains("localhost:1") && !printed.contains("secret"), "{printed}");
    }
}

#[test]
fn an_encoder_is_for_all_tasks() {
    fn is_for_all<T: Clone + Send + Sync + 'static>() {}
    is_for_all::<SentenceEncoder>();
    is_for_all::<Error>();
    is_for_all::<Matrix>();
}
