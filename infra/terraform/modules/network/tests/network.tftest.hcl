mock_provider "aws" {
  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:us-west-2:123456789012:log-group:/aws/vpc/tests" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/tests-flow-logs" }
  }
}

variables {
  name       = "tests"
  account_id = "123456789012"
  region     = "us-west-2"
  zones      = ["us-west-2a", "us-west-2b", "us-west-2c"]
  bucket     = "tests-bucket"
  key_arn    = "arn:aws:kms:us-west-2:123456789012:key/11111111-2222-3333-4444-555555555555"
  inputs = [
    { bucket = "sentinel-cogs", prefixes = ["sentinel-s2-l2a-cogs/"] },
    { bucket = "usgs-landsat", prefixes = ["collection02/level-2/"], requester_pays = true },
  ]
}

run "nothing_comes_in" {
  command = apply

  assert {
    condition     = length(aws_default_security_group.closed.ingress) == 0 && length(aws_default_security_group.closed.egress) == 0
    error_message = "the default group is closed"
  }

  assert {
    condition     = alltrue([for subnet in aws_subnet.public : subnet.map_public_ip_on_launch == false])
    error_message = "no machine gets a public address"
  }
}

run "subnets_do_not_overlap" {
  command = apply

  assert {
    condition     = [for subnet in aws_subnet.private : subnet.cidr_block] == ["10.0.0.0/19", "10.0.32.0/19", "10.0.64.0/19"]
    error_message = "private subnets are the first eighths of the network"
  }

  assert {
    condition     = [for subnet in aws_subnet.public : subnet.cidr_block] == ["10.0.240.0/24", "10.0.241.0/24", "10.0.242.0/24"]
    error_message = "public subnets lie at the end of the network"
  }
}

run "one_nat_gateway_serves_all_zones" {
  command = apply

  assert {
    condition     = keys(aws_nat_gateway.this) == ["us-west-2a"]
    error_message = "one NAT gateway, in the first zone"
  }

  assert {
    condition     = length(distinct([for route in aws_route.nat : route.nat_gateway_id])) == 1 && length(aws_route.nat) == 3
    error_message = "every zone goes through it"
  }
}

run "or_each_zone_has_its_own" {
  command = apply
  variables {
    nat_per_zone = true
  }

  assert {
    condition     = length(aws_nat_gateway.this) == 3 && length(distinct([for route in aws_route.nat : route.nat_gateway_id])) == 3
    error_message = "three NAT gateways, one for each zone"
  }
}

run "imagery_passes_through_the_gateway_endpoint" {
  command = apply

  assert {
    condition     = aws_vpc_endpoint.s3.vpc_endpoint_type == "Gateway" && length(aws_vpc_endpoint.s3.route_table_ids) > 0
    error_message = "S3 is reached through a gateway endpoint"
  }

  assert {
    condition = toset(flatten([
      for statement in jsondecode(aws_vpc_endpoint.s3.policy).Statement : [
        for resource in flatten([statement.Resource]) : split("/", resource)[0]
      ]
      ])) == toset([
      "arn:aws:s3:::tests-bucket",
      "arn:aws:s3:::sentinel-cogs",
      "arn:aws:s3:::usgs-landsat",
      "arn:aws:s3:::prod-us-west-2-starport-layer-bucket",
      "arn:aws:s3:::prod-registry-k8s-io-us-west-2",
    ])
    error_message = "the endpoint lets through the buckets that runs need, and no other"
  }
}

run "one_zone_is_refused" {
  command = plan
  variables {
    zones = ["us-west-2a"]
  }
  expect_failures = [var.zones]
}

run "a_small_network_is_refused" {
  command = plan
  variables {
    cidr = "10.0.0.0/20"
  }
  expect_failures = [var.cidr]
}
