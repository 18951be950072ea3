# Every action is named, every object lies below a named prefix, and lists are bound to the prefix too.
# S3 asks for ListBucket with the object's name as `s3:prefix` before it says "no such object" (404), so the
# conditions below also let a run look whether something is there.

locals {
  bucket_arn = "arn:aws:s3:::${var.bucket}"
  readable = concat(
    [{ bucket = var.bucket, prefixes = ["models/", "runs/"], requester_pays = false }],
    var.inputs,
  )

  read_inputs = concat(
    flatten([for input in local.readable : [
      {
        # Of a bucket whose readers pay, IAM asks no more; the reader itself sends AWS_REQUEST_PAYER.
        Sid      = "Read${input.requester_pays ? "AndPay" : ""}${md5(input.bucket)}"
        Effect   = "Allow"
        Action   = ["s3:GetObject"]
        Resource = [for prefix in input.prefixes : "arn:aws:s3:::${input.bucket}/${prefix}*"]
      },
      {
        Sid       = "List${md5(input.bucket)}"
        Effect    = "Allow"
        Action    = ["s3:ListBucket"]
        Resource  = ["arn:aws:s3:::${input.bucket}"]
        Condition = { StringLike = { "s3:prefix" = [for prefix in input.prefixes : "${prefix}*"] } }
      },
    ]]),
    [{
      Sid       = "Decrypt"
      Effect    = "Allow"
      Action    = ["kms:Decrypt"]
      Resource  = [var.key_arn]
      Condition = local.through_s3
    }],
  )

  write_runs = [
    {
      Sid      = "WriteRuns"
      Effect   = "Allow"
      Action   = ["s3:AbortMultipartUpload", "s3:PutObject"]
      Resource = ["${local.bucket_arn}/runs/*"]
    },
    {
      # Parts of an upload are also decrypted when they are joined, which every reader may.
      Sid       = "Encrypt"
      Effect    = "Allow"
      Action    = ["kms:GenerateDataKey"]
      Resource  = [var.key_arn]
      Condition = local.through_s3
    },
  ]

  # Only the driver removes anything: its lock, tables of a merge, old snapshots. The bucket keeps versions.
  tidy_runs = [
    {
      Sid      = "RemoveFromRuns"
      Effect   = "Allow"
      Action   = ["s3:DeleteObject"]
      Resource = ["${local.bucket_arn}/runs/*"]
    },
    {
      # S3 knows no condition on the prefix for this list. It tells names of unfinished uploads, no more.
      Sid      = "FindUnfinishedUploads"
      Effect   = "Allow"
      Action   = ["s3:ListBucketMultipartUploads"]
      Resource = [local.bucket_arn]
    },
  ]

  find_cluster = [{
    Sid      = "FindTheCluster"
    Effect   = "Allow"
    Action   = ["eks:DescribeCluster"]
    Resource = [var.cluster_arn]
  }]

  scale_nodes = [
    {
      # AWS offers no narrower resource for these: they describe, and change nothing.
      Sid    = "SeeNodes"
      Effect = "Allow"
      Action = [
        "autoscaling:DescribeAutoScalingGroups",
        "autoscaling:DescribeAutoScalingInstances",
        "autoscaling:DescribeLaunchConfigurations",
        "autoscaling:DescribeScalingActivities",
        "autoscaling:DescribeTags",
        "ec2:DescribeImages",
        "ec2:DescribeInstanceTypes",
        "ec2:DescribeLaunchTemplateVersions",
        "ec2:GetInstanceTypesFromInstanceRequirements",
      ]
      Resource = ["*"]
    },
    {
      # Labels and taints of groups without nodes.
      Sid      = "SeeEmptyPools"
      Effect   = "Allow"
      Action   = ["eks:DescribeNodegroup"]
      Resource = ["${replace(var.cluster_arn, ":cluster/", ":nodegroup/")}/*"]
    },
    {
      Sid       = "ScaleOwnPools"
      Effect    = "Allow"
      Action    = ["autoscaling:SetDesiredCapacity", "autoscaling:TerminateInstanceInAutoScalingGroup"]
      Resource  = ["arn:aws:autoscaling:${var.region}:${var.account_id}:autoScalingGroup:*"]
      Condition = { StringEquals = { "aws:ResourceTag/k8s.io/cluster-autoscaler/${var.cluster_name}" = "owned" } }
    },
  ]

  through_s3 = { StringEquals = { "kms:ViaService" = "s3.${var.region}.amazonaws.com" } }

  policies = {
    find-cluster = local.find_cluster
    read-inputs  = local.read_inputs
    scale-nodes  = local.scale_nodes
    tidy-runs    = local.tidy_runs
    write-runs   = local.write_runs
  }
}
