# A network of its own. Nodes live in private subnets and have no public address. S3 is reached through a
# gateway endpoint, which costs nothing, so imagery never passes through the NAT gateway. What the endpoint
# lets through is listed: the environment's bucket, the named inputs, and the layers of container images.

locals {
  zones     = { for index, zone in var.zones : zone => index }
  nat_zones = var.nat_per_zone ? var.zones : slice(var.zones, 0, 1)

  endpoint_policy = {
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          Sid       = "OwnBucket"
          Effect    = "Allow"
          Principal = "*"
          Action = [
            "s3:AbortMultipartUpload",
            "s3:DeleteObject",
            "s3:GetObject",
            "s3:ListBucket",
            "s3:ListBucketMultipartUploads",
            "s3:PutObject",
          ]
          Resource  = ["arn:aws:s3:::${var.bucket}", "arn:aws:s3:::${var.bucket}/*"]
          Condition = { StringEquals = { "aws:PrincipalAccount" = var.account_id } }
        },
        {
          # Amazon ECR and registry.k8s.io (the autoscaler's image) keep the layers of images in these buckets.
          Sid       = "LayersOfImages"
          Effect    = "Allow"
          Principal = "*"
          Action    = ["s3:GetObject"]
          Resource = [
            "arn:aws:s3:::prod-${var.region}-starport-layer-bucket/*",
            "arn:aws:s3:::prod-registry-k8s-io-${var.region}/*",
          ]
        },
      ],
      # Open data is also read without credentials, so no account is asked for.
      [for input in var.inputs : {
        Sid       = "Input${md5(input.bucket)}"
        Effect    = "Allow"
        Principal = "*"
        Action    = ["s3:GetObject", "s3:ListBucket"]
        Resource = concat(
          ["arn:aws:s3:::${input.bucket}"],
          [for prefix in input.prefixes : "arn:aws:s3:::${input.bucket}/${prefix}*"],
        )
      }],
    )
  }
}

resource "aws_vpc" "this" {
  cidr_block           = var.cidr
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = { Name = var.name }
}

# Nothing uses the default group, so it lets nothing in and nothing out.
resource "aws_default_security_group" "closed" {
  vpc_id = aws_vpc.this.id
}

resource "aws_subnet" "private" {
  for_each = local.zones

  vpc_id            = aws_vpc.this.id
  availability_zone = each.key
  cidr_block        = cidrsubnet(var.cidr, 3, each.value)
  tags              = { Name = "${var.name}-private-${each.key}" }
}

# Holds NAT gateways and nothing else.
resource "aws_subnet" "public" {
  for_each = local.zones

  vpc_id                  = aws_vpc.this.id
  availability_zone       = each.key
  cidr_block              = cidrsubnet(var.cidr, 8, 240 + each.value)
  map_public_ip_on_launch = false
  tags                    = { Name = "${var.name}-public-${each.key}" }
}

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = var.name }
}

resource "aws_eip" "nat" {
  for_each = toset(local.nat_zones)

  domain = "vpc"
  tags   = { Name = "${var.name}-nat-${each.key}" }
}

resource "aws_nat_gateway" "this" {
  for_each = toset(local.nat_zones)

  allocation_id = aws_eip.nat[each.key].id
  subnet_id     = aws_subnet.public[each.key].id
  tags          = { Name = "${var.name}-${each.key}" }
  depends_on    = [aws_internet_gateway.this]
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = "${var.name}-public" }
}

resource "aws_route" "internet" {
  route_table_id         = aws_route_table.public.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this.id
}

resource "aws_route_table_association" "public" {
  for_each = local.zones

  subnet_id      = aws_subnet.public[each.key].id
  route_table_id = aws_route_table.public.id
}

resource "aws_route_table" "private" {
  for_each = local.zones

  vpc_id = aws_vpc.this.id
  tags   = { Name = "${var.name}-private-${each.key}" }
}

resource "aws_route" "nat" {
  for_each = local.zones

  route_table_id         = aws_route_table.private[each.key].id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = aws_nat_gateway.this[var.nat_per_zone ? each.key : local.nat_zones[0]].id
}

resource "aws_route_table_association" "private" {
  for_each = local.zones

  subnet_id      = aws_subnet.private[each.key].id
  route_table_id = aws_route_table.private[each.key].id
}

resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.this.id
  service_name      = "com.amazonaws.${var.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [for zone in var.zones : aws_route_table.private[zone].id]
  policy            = jsonencode(local.endpoint_policy)
  tags              = { Name = "${var.name}-s3" }
}
