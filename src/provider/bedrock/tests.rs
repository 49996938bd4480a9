use serde_json::Value;

use super::*;

fn fixture(name: &str) -> Value {
    let path = format!("{}/tests/fixtures/aws/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn trap_56_every_partition_has_its_host() {
    let cases = fixture("bedrock-runtime-endpoints.json");
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 10);
    for case in cases {
        let endpoint = endpoint(case["region"].as_str().unwrap(), case["fips"].as_bool().unwrap(), case["dualstack"].as_bool().unwrap());
        assert_eq!(endpoint.to_string(), case["endpoint"].as_str().unwrap());
        assert_eq!((endpoint.port, endpoint.tls), (443, true));
    }
}

#[test]
fn the_table_says_what_the_partition_file_says() {
    let file = fixture("partitions.json");
    let partitions = file["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), PARTITIONS.len());
    for published in partitions {
        let id = published["id"].as_str().unwrap();
        let outputs = &published["outputs"];
        assert_eq!((outputs["supportsFIPS"].as_bool(), outputs["supportsDualStack"].as_bool()), (Some(true), Some(true)));
        for region in published["regions"].as_object().unwrap().keys() {
            let found = partition(region).unwrap_or_else(|| panic!("{region}"));
            assert_eq!(found.id, id, "{region}");
            assert_eq!(found.dns_suffix, outputs["dnsSuffix"].as_str().unwrap());
            assert_eq!(found.dual_stack_suffix, outputs["dualStackDnsSuffix"].as_str().unwrap());
        }
    }
}

#[test]
fn unknown_regions_are_taken_for_the_first_partition() {
    assert_eq!(endpoint("moon-base-1", false, false).host, "bedrock-runtime.moon-base-1.amazonaws.com");
    assert_eq!(endpoint("us-new-99", false, true).host, "bedrock-runtime.us-new-99.api.aws");
    assert!(!is_known_form("moon-base-1") && !is_known_form("us-east") && !is_known_form("us-east-1a"));
    assert!(is_known_form("us-new-99"));
    for bad in ["", "US-EAST-1", "us east", "us_east_1", "-us", "us-", "us.east", "us/east"] {
        assert!(!is_region(bad), "{bad}");
    }
    assert!(is_region("us-east-1") && is_region("local"));
}

#[test]
fn trap_53_a_model_id_is_one_encoded_segment() {
    let plain = endpoint("us-east-1", false, false);
    let prefixed = Endpoint::parse("http://127.0.0.1:9000/bedrock/").unwrap();
    for (endpoint, id, operation, expected) in [
        (&plain, "anthropic.claude-3-haiku-20240307-v1:0", Operation::Converse, "/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse"),
        (&prefixed, "amazon.titan-text-express-v1", Operation::ConverseStream, "/bedrock/model/amazon.titan-text-express-v1/converse-stream"),
        (
            &plain,
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            Operation::ConverseStream,
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream",
        ),
        (&plain, "a~b_c?d#e%f ü", Operation::CountTokens, "/model/a~b_c%3Fd%23e%25f%20%C3%BC/count-tokens"),
        (&plain, "m", Operation::Invoke, "/model/m/invoke"),
        (&plain, "m", Operation::InvokeStream, "/model/m/invoke-with-response-stream"),
    ] {
        assert_eq!(path(endpoint, id, operation), expected);
    }
}

#[test]
fn ids_that_would_break_a_path_are_refused() {
    assert_eq!(check_model_id(""), Err(ModelIdError::Empty));
    assert_eq!(check_model_id("."), Err(ModelIdError::DotSegment));
    assert_eq!(check_model_id(".."), Err(ModelIdError::DotSegment));
    assert_eq!(check_model_id("a\nb"), Err(ModelIdError::Control));
    assert_eq!(check_model_id("a\u{0}"), Err(ModelIdError::Control));
    assert_eq!(check_model_id("a b"), Err(ModelIdError::Control));
    assert_eq!(check_model_id(&"a".repeat(2049)), Err(ModelIdError::TooLong));
    assert_eq!(check_model_id("anthropic.claude-3-haiku-20240307-v1:0"), Ok(()));
}

#[test]
fn bedrocks_own_names_are_recognised() {
    for id in [
        "anthropic.claude-3-haiku-20240307-v1:0",
        "us.anthropic.claude-sonnet-4-6",
        "global.anthropic.claude-opus-4-6-v1",
        "us-gov.anthropic.claude-3-haiku-20240307-v1:0",
        "amazon.titan-text-express-v1",
        "openai.gpt-oss-120b-1:0",
        "newvendor.model-v1:0",
        "eu.newvendor.model",
        "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0",
        "arn:aws-us-gov:bedrock:us-gov-west-1:123456789012:application-inference-profile/abc",
        "arn:aws:sagemaker:us-east-1:123456789012:endpoint/mine",
    ] {
        assert!(recognises(id), "{id}");
    }
    for id in [
        "gpt-4",
        "gpt-4.1",
        "gpt-3.5-turbo",
        "gemini-2.5-pro",
        "claude-3-haiku",
        "llama3.1",
        "us.",
        "anthropic.",
        "us.x",
        ".",
        "",
        "arn:aws:s3:::bucket",
        "arn:",
        "a b.c",
    ] {
        assert!(!recognises(id), "{id}");
    }
}

#[test]
fn parts_of_an_id_are_found() {
    assert_eq!(arn_region("arn:aws:bedrock:eu-west-1:123456789012:inference-profile/x"), Some("eu-west-1"));
    assert_eq!(arn_region("arn:aws:bedrock:::x"), None);
    assert_eq!(arn_region("anthropic.claude-3-haiku-20240307-v1:0"), None);
    assert_eq!(vendor("us.anthropic.claude-sonnet-4-6"), Some("anthropic"));
    assert_eq!(vendor("meta.llama3-3-70b-instruct-v1:0"), Some("meta"));
    assert_eq!(vendor("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0"), Some("amazon"));
    assert_eq!(vendor("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"), None);
    assert_eq!(vendor("gpt-4"), None);
    for (region, geography_of_it) in
        [("us-east-1", "us"), ("eu-central-1", "eu"), ("ap-south-1", "apac"), ("us-gov-west-1", "us-gov"), ("ca-central-1", "us"), ("odd", "us")]
    {
        assert_eq!(geography(region), geography_of_it);
    }
}
