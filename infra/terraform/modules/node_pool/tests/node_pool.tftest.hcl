mock_provider "aws" {}

variables {
  cluster_name   = "tests"
  name           = "cpu"
  pool           = "cpu"
  node_role_arn  = "arn:aws:iam::123456789012:role/tests-node"
  subnet_ids     = ["subnet-1", "subnet-2"]
  instance_types = ["m6a.4xlarge"]
  capacity_type  = "SPOT"
  max_nodes      = 4
  disk_gib       = 100
}

run "a_pool_is_empty_until_somebody_asks" {
  command = plan

  assert {
    condition = (
      aws_eks_node_group.this.scaling_config[0].min_size == 0 &&
      aws_eks_node_group.this.scaling_config[0].desired_size == 0 &&
      aws_eks_node_group.this.scaling_config[0].max_size == 4
    )
    error_message = "the pool starts at zero"
  }

  assert {
    condition     = aws_eks_node_group.this.labels == tomap({ "terraquery.dev/pool" = "cpu" })
    error_message = "pods find the pool by its label"
  }
}

run "pods_cannot_borrow_the_credentials_of_their_node" {
  command = plan

  assert {
    condition = (
      aws_launch_template.this.metadata_options[0].http_tokens == "required" &&
      aws_launch_template.this.metadata_options[0].http_put_response_hop_limit == 1
    )
    error_message = "the metadata service wants a token and is one hop away"
  }

  assert {
    condition     = aws_launch_template.this.block_device_mappings[0].ebs[0].encrypted == "true"
    error_message = "disks are encrypted"
  }
}

run "local_disks_are_joined_where_wanted" {
  command = plan
  variables {
    local_disks = true
  }

  assert {
    condition     = yamldecode(split("\n\n", base64decode(aws_launch_template.this.user_data))[2]).spec.instance.localStorage.strategy == "RAID0"
    error_message = "nodeadm is told to join the disks"
  }
}

run "and_left_alone_elsewhere" {
  command = plan

  assert {
    condition     = aws_launch_template.this.user_data == null
    error_message = "a pool without local disks has no user data"
  }
}

run "a_pool_of_no_known_name_is_refused" {
  command = plan
  variables {
    pool = "tpu"
  }
  expect_failures = [var.pool]
}

run "more_nodes_at_least_than_at_most_are_refused" {
  command = plan
  variables {
    min_nodes = 5
  }
  expect_failures = [aws_eks_node_group.this]
}
