mock_provider "aws" {}

variables {
  account_id      = "123456789012"
  admin_role_arns = ["arn:aws:iam::123456789012:role/platform-engineers"]
  alarm_emails    = ["nightly-runs@example.com"]
}

run "an_account_has_twelve_digits" {
  command = plan
  variables {
    account_id = "1234"
  }
  expect_failures = [var.account_id]
}

run "a_name_becomes_part_of_names_of_buckets" {
  command = plan
  variables {
    name = "Terraquery_Dev"
  }
  expect_failures = [var.name]
}

run "a_region_of_another_partition_is_refused" {
  command = plan
  variables {
    region = "cn-north-1"
  }
  expect_failures = [var.region]
}

run "and_what_is_no_region" {
  command = plan
  variables {
    region = "us-west-2a"
  }
  expect_failures = [var.region]
}
