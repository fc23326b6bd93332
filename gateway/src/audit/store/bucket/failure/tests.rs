use super::*;

fn refused(text: &str) -> String {
    let cause = ClientError::Generic {
        store: "S3",
        source: text.into(),
    };
    BucketError::answered("write", "s3://evidence/x", cause).to_string()
}

#[test]
fn what_the_server_says_is_told_once_with_what_to_do() {
    let text = "Error performing PUT http://s3/evidence/x in 3ms - Server returned non-2xx status code: 404 Not Found: \
                <?xml version=\"1.0\"?>\n<Error><Code>NoSuchBucket</Code><Message>The bucket does not exist</Message></Error>";
    assert_eq!(
        refused(text),
        "cannot write s3://evidence/x: the server says NoSuchBucket: The bucket does not exist; \
         check recording.store.s3.bucket, region and endpoint"
    );
}

#[test]
fn a_proxys_answer_is_its_status() {
    let text = "Error performing PUT http://s3/x in 3ms - Server returned non-2xx status code: 502 Bad Gateway: ";
    assert_eq!(
        refused(text),
        "cannot write s3://evidence/x: the server says 502 Bad Gateway"
    );
}

#[test]
fn an_answer_cannot_flood_or_command_a_terminal() {
    let text = format!(
        "<Code>Odd</Code><Message>\u{1b}[2J\n{}</Message>",
        "x".repeat(10_000)
    );
    let told = refused(&text);
    assert!(told.len() < 600 && !told.contains('\u{1b}') && !told.contains('\n'));
}
