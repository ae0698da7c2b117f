"""The papers' figures, typed from their text table by table, without a look at the recipes.

Each table stands as in the paper: a line a row, a column a metric; the first line names the columns. `-` is a place
that the paper or the recipe leaves empty. A row's last word, after `=`, is the name that the recipe gives it.
"""

TABLES = {}
# ICASC Table 2: score on VOC's segmentation validation set.
TABLES["icasc/table2"] = """
                mIoU
Grad-CAM [9]    56.65 = grad-cam
Grad-CAM++ [5]  51.70 = grad-cam-pp
A_ch (ours)     57.97 = channel-weighted
"""
# Table 3: ablation on CUB-200-2011, top-1 accuracy (%).
TABLES["icasc/table3"] = """
                              top1
ResNet-50                     81.70 = baseline
+ L_AS^in                     85.15 = inner
+ L_AS^in + L_AC              85.77 = inner-consistency
+ L_AS^in + L_AS^la + L_AC    86.20 = all
"""
# Table 4: CIFAR-100.
TABLES["icasc/table4"] = """
                              top1
ResNet-110                    72.78 = baseline
ResNet-110 + ICASC_Grad-CAM   74.02 = grad-cam
ResNet-110 + ICASC_Ach        76.11 = channel-weighted
"""
# Table 5: Caltech-256; top-1 is lost in the text at hand but for Table 9's ResNet-18 with N = 60.
TABLES["icasc/table5"] = """
                      top1   top5   gain
RN-18, N=30           -      92.48  -     = resnet18-30
RN-18 + ICASC, N=30   -      92.87  1.24  = resnet18-30-icasc
RN-18, N=60           80.01  94.12  -     = resnet18-60
RN-18 + ICASC, N=60   81.32  94.57  1.31  = resnet18-60-icasc
VGG-19, N=30          -      90.05  -     = vgg19-30
VGG-19 + ICASC, N=30  -      90.85  1.08  = vgg19-30-icasc
VGG-19, N=60          -      92.17  -     = vgg19-60
VGG-19 + ICASC, N=60  -      93.25  1.64  = vgg19-60-icasc
"""
# Table 6: ILSVRC2012; tenCrop in columns of its own.
TABLES["icasc/table6"] = """
                      top1   top5   top1_ten-crop  top5_ten-crop
ResNet-18             69.51  88.91  72.12          90.58          = baseline
ResNet-18 + ICASC     69.90  89.71  73.04          90.65          = channel-weighted
"""
# Table 7: CUB-200-2011.
TABLES["icasc/table7"] = """
                      top1
ResNet-50 [11]        81.7  = resnet50
ResNet-101 [11]       82.5  = resnet101
ResNet-50 + ICASC     86.2  = resnet50-icasc
ResNet-101 + ICASC    86.5  = resnet101-icasc
"""
# Table 8: PASCAL VOC 2012.
TABLES["icasc/table8"] = """
                      AUC    AP
ResNet-18 [4]         0.976  77.44  = baseline
ResNet-18 + ICASC     0.981  83.17  = channel-weighted
"""
# Table 9: mechanisms.
TABLES["icasc/table9-voc"] = """
                      AP
ResNet-18             77.44 = baseline
+ ICASC_Grad-CAM      82.12 = grad-cam
+ ICASC_Ach           83.17 = channel-weighted
"""
TABLES["icasc/table9-caltech256"] = """
                      top1
ResNet-18             80.01 = baseline
+ ICASC_Grad-CAM      80.28 = grad-cam
+ ICASC_Ach           81.32 = channel-weighted
"""
TABLES["icasc/table9-cub"] = """
                      top1
ResNet-50             81.70 = baseline
+ ICASC_Grad-CAM      85.45 = grad-cam
+ ICASC_Ach           86.20 = channel-weighted
"""
TABLES["icasc/table9-imagenet"] = """
                      top1
ResNet-18             69.51 = baseline
+ ICASC_Grad-CAM      69.84 = grad-cam
+ ICASC_Ach           69.90 = channel-weighted
"""
# Fig. 9 and the text below it.
TABLES["icasc/figure9"] = """
                      margin  at_probability
baseline              0.64    0.51            = baseline
proposed              0.74    0.55            = all
"""
# Appendix, Table 2, whose columns are the recipe's rows.
TABLES["icasc/appendix-table2"] = """
          aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant sheep sofa train tvmonitor mAP
ResNet18  95.16 76.18 92.92 84.82 53.32 89.81 77.41 93.91 68.53 57.41 67.35 88.18 73.58 82.36 95.69 46.38 78.79 54.83 92.05 80.07 77.44 = baseline
Grad-CAM  96.33 80.82 94.69 87.91 60.66 91.73 80.11 95.63 73.04 67.85 73.07 91.70 80.89 86.09 96.22 56.27 84.93 64.00 95.05 85.32 82.12 = grad-cam
Ach       96.85 82.41 95.17 89.13 61.07 92.25 81.74 96.28 73.69 71.12 73.64 92.62 84.21 87.51 96.44 57.75 86.15 64.63 95.56 85.24 83.17 = channel-weighted
"""  # noqa: E501
# GAIN Table 1: mIoU (%) on VOC 2012 val. of SEC, GAIN and GAIN_ext.
TABLES["gain/table1"] = """
                          mIoU
SEC [12] (baseline)       50.7 = sec
GAIN (ours)               55.3 = gain
GAIN_ext, + 200 pixel     58.3 = gain-ext-200
GAIN_ext, + 1464 pixel    60.5 = gain-ext-1464
"""
# Table 2: without CRF.
TABLES["gain/table2"] = """
                          mIoU
SEC [11] w/o. CRF         44.79 = sec
GAIN w/o. CRF             50.78 = gain
GAIN_ext w/o. CRF         54.77 = gain-ext-1464
"""
# Table 3: GAIN_ext with more and more masks.
TABLES["gain/table3"] = """
                          mIoU
10K weak + 200 pixel      58.3 = gain-ext-200
10K weak + 400 pixel      59.4 = gain-ext-400
10K weak + 900 pixel      60.2 = gain-ext-900
10K weak + 1464 pixel     60.5 = gain-ext-1464
"""
# GAIN Table 4: biased boats, accuracy (%).
TABLES["gain/table4"] = """
                   VOC_val.  boat_without_water  water_without_boat  overall
Grad-CAM           83        42                  30                  36       = grad-cam
GAIN               90        48                  62                  55       = gain
GAIN_ext, 9 PL     93        64                  68                  66       = gain-ext-9
GAIN_ext, 23 PL    93        74                  76                  75       = gain-ext-23
GAIN_ext, 78 PL    94        84                  84                  84       = gain-ext-78
"""
# Sec. 5, industrial camera, in words: "very close to 100%", "close to 50%", "correctly classified all images in both".
TABLES["gain/camera"] = """
                   test_1  test_2
Grad-CAM           100     50      = grad-cam
GAIN_ext           100     100     = gain-ext
"""
# ABN Table 1: top-1 errors on CIFAR100; columns are g(x), g(x) M(x) and g(x) (1 + M(x)).
TABLES["abn/table1"] = """
                   error
ResNet20 g         31.47 = resnet20
ResNet20 gM        30.61 = resnet20-product
ResNet20 g(1+M)    30.46 = resnet20-residual
ResNet32 g         30.13 = resnet32
ResNet32 gM        28.34 = resnet32-product
ResNet32 g(1+M)    27.91 = resnet32-residual
ResNet44 g         25.90 = resnet44
ResNet44 gM        24.83 = resnet44-product
ResNet44 g(1+M)    25.59 = resnet44-residual
ResNet56 g         25.61 = resnet56
ResNet56 gM        24.22 = resnet56-product
ResNet56 g(1+M)    24.07 = resnet56-residual
ResNet110 g        24.14 = resnet110
ResNet110 gM       23.28 = resnet110-product
ResNet110 g(1+M)   22.82 = resnet110-residual
"""
# Table 2: top-1 errors; the column CIFAR10.
TABLES["abn/table2-cifar10"] = """
                   error
ResNet             6.43 = resnet
ResNet+ABN         4.91 = resnet-abn
WideResNet         4.00 = wideresnet
WideResNet+ABN     3.78 = wideresnet-abn
DenseNet           4.51 = densenet
DenseNet+ABN       4.17 = densenet-abn
ResNeXt            3.84 = resnext
ResNeXt+ABN        3.80 = resnext-abn
"""
TABLES["abn/table2-cifar100"] = """
                   error
ResNet             24.14 = resnet
ResNet+ABN         22.82 = resnet-abn
WideResNet         19.25 = wideresnet
WideResNet+ABN     18.12 = wideresnet-abn
DenseNet           22.27 = densenet
DenseNet+ABN       21.63 = densenet-abn
ResNeXt            18.32 = resnext
ResNeXt+ABN        17.70 = resnext-abn
"""
TABLES["abn/table2-svhn"] = """
                   error
ResNet             2.18 = resnet
ResNet+ABN         1.86 = resnet-abn
WideResNet         2.42 = wideresnet
WideResNet+ABN     2.24 = wideresnet-abn
DenseNet           2.07 = densenet
DenseNet+ABN       2.01 = densenet-abn
ResNeXt            2.16 = resnext
ResNeXt+ABN        2.01 = resnext-abn
"""
TABLES["abn/table2-imagenet"] = """
                   error
VGGNet+BN          26.24 = vgg16-bn
VGGNet+BN+CAM      27.42 = vgg16-bn-cam
VGGNet+BN+ABN      25.55 = vgg16-bn-abn
ResNet             22.19 = resnet152
ResNet+CAM         22.11 = resnet152-cam
ResNet+ABN         21.37 = resnet152-abn
SENet              21.57 = senet152
SENet+ABN          20.77 = senet152-abn
"""
# Table 3: CompCars, model and maker (%).
TABLES["abn/table3-model"] = """
                   accuracy
VGG16              85.9 = vgg16
ResNet101          90.2 = resnet101
VGG16+ABN          90.7 = vgg16-abn
ResNet101+ABN      97.1 = resnet101-abn
"""
TABLES["abn/table3-maker"] = """
                   accuracy
VGG16              90.4 = vgg16
ResNet101          90.1 = resnet101
VGG16+ABN          92.9 = vgg16-abn
ResNet101+ABN      98.1 = resnet101-abn
"""
# Table 4: CelebA, average of accuracy (%).
TABLES["abn/table4"] = """
                   average_accuracy
ResNet101          90.69 = resnet101
ABN                91.07 = abn
"""
# WARN Sec. 4.2 and Fig. 4d: "reaching 97.8%".
TABLES["warn/figure4"] = """
                   validation
AD, AW = 4         97.8 = best
"""
# Sec. 4.3, in words: 1.5% by depth and width, 4% and 3% by gates, 0.6% by regularization, sigmoid similar to softmax,
# a 0.4% drop with gradients blocked; "WARN reaches 17.82% error on CIFAR100".
TABLES["warn/section4.3"] = """
                   error  gain
WARN               17.82  1.5   = warn
linear projection  -      -4    = linear
average            -      -3    = average
no regularization  -      -0.6  = unregularized
sigmoid            -      0     = sigmoid
gradient blocked   -      -0.4  = blocked
"""
# Table 2: Params (M), GFlop, Time (s), CIFAR-10 and CIFAR-100 error.
TABLES["warn/table2-cifar10"] = """
                   parameters  multiply-adds  seconds  error
WRN 40             56          8.1            0.18     3.80  = wrn40
WARN 28            37          5.3            0.17     3.44  = warn28
WARN 40            56          8.2            0.18     3.46  = warn40
"""
TABLES["warn/table2-cifar100"] = """
                   parameters  multiply-adds  seconds  error
WRN 40             56          8.1            0.18     18.30  = wrn40
WARN 28            37          5.3            0.17     18.26  = warn28
WARN 40            56          8.2            0.18     17.82  = warn40
"""
# Table 3, accuracy, and Table 4, increment per million parameters.
TABLES["warn/table3-dogs"] = """
                   accuracy  accuracy_per_million
WRN                89.6      1.3  = wrn
WARN               92.9      6.9  = warn
"""
TABLES["warn/table3-food"] = """
                   accuracy  accuracy_per_million
WRN                84.3      1.2  = wrn
WARN               85.5      2.5  = warn
"""
TABLES["warn/table3-cars"] = """
                   accuracy  accuracy_per_million
WRN                88.5      1.3  = wrn
WARN               90.0      3.1  = warn
"""
TABLES["warn/table3-gender"] = """
                   accuracy  accuracy_per_million
WRN                93.9      1.4  = wrn
WARN               94.6      1.5  = warn
"""
TABLES["warn/table3-age"] = """
                   accuracy  accuracy_per_million
WRN                57.4      0.8  = wrn
WARN               59.7      4.0  = warn
"""
TABLES["warn/table3-birds"] = """
                   accuracy  accuracy_per_million
WRN                84.3      1.2  = wrn
WARN               85.6      2.5  = warn
"""

AGAIN = "-official"
"""A row of this ending trains by the authors' code and is held against the figure of the row before it."""


def figures(name):
    """(row, metric) -> the paper's figure, of one recipe."""
    head, *lines = TABLES[name].strip("\n").splitlines()
    metrics = [metric.replace("_", " ") for metric in head.split()]
    found = {}
    for line in lines:
        values, row = line.rsplit("=", 1)
        for metric, value in zip(metrics, values.split()[-len(metrics) :], strict=True):
            if value != "-":
                found[row.strip(), metric] = float(value)
    return found
